<p title="{{ $motto }}">{{ $text }}</p>
