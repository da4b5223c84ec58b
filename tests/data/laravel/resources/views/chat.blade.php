@extends('layouts.app')
@section('title', 'Chat')
@section('content'){!! app('diffyne')->mount(App\Diffyne\ChatRoom::class) !!}@endsection
