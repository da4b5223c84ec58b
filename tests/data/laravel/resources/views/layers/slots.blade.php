<div>
@component('components.card')
@slot('title')
{{ $text }}
@endslot
inner {{ $text }}
@endcomponent
<x-card><x-slot:title><i>{{ $text }}</i></x-slot:title><b>of a tag</b></x-card>
@include('layers.part', ['what' => $text])
</div>
