@component('components.card')
@slot('title')
included
@endslot
{{ $what }}
@endcomponent
