<div>@for ($n = 0; $n < 2; $n++)@once('layers')<i>{{ $text }}</i>@endonce @endfor<b>{{ $text }}</b></div>
