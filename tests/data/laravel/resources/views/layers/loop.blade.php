<ul>@foreach (['a', 'b'] as $item)<li title="{{ $loop->depth }} {{ $loop->parent === null ? 'top' : 'inner' }}">{{ $item }} {{ $text }}</li>@endforeach</ul>
