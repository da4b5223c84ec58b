@extends('layers.layout')
@section('title', $text)
@section('body')@parent<i>{{ $text }}</i>@endsection
@if ($text === 'foot')@section('foot')<b>{{ $text }}</b>@endsection @endif
