@extends('layers.layout')
@section('title', 'of the one that throws')
@push('list')
<i>of the one that throws</i>
@endpush
@section('body')
@once('layers')
<b>once</b>
@endonce
@foreach ([1, 2] as $number)
@component('components.card')
@slot('title')
{{ $text === 'throw' ? throw new \RuntimeException('thrown while a view was rendered') : $text }}
@endslot
@endcomponent
@endforeach
@endsection
