<section><h2>{{ $title ?? 'no title' }}</h2>{{ $slot }}</section>
