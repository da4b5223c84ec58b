<div>@push('list')<i>{{ $text }}</i>@endpush @prepend('list')<b>first</b>@endprepend @pushOnce('list', 'key')<u>once</u>@endPushOnce @stack('list')</div>
