<!doctype html>
<html>
<head><meta charset="utf-8"><title>Album</title><meta name="csrf-token" content="{{ csrf_token() }}"><link rel="icon" href="data:,"></head>
<body>
<div diff:id="{{ $album['id'] }}" diff:class="{{ $class }}" diff:name="Album" diff:state="{{ json_encode($album['state']) }}" diff:fingerprint="{{ $album['fingerprint'] }}" diff:signature="{{ $album['signature'] }}" diff:listeners="{}" data-diffyne-component data-diffyne-loaded>{!! $album['html'] !!}</div>
@if ($script === 'client')
<script type="module" src="/_diffyne/client.js" data-url="/diffyne" data-endpoint="{{ request('endpoint', '/_diffyne') }}"></script>
@else
<script>window.diffyneConfig = {transport: 'websocket', wsUrl: 'ws://127.0.0.1:1/?key=none', endpoint: '/_diffyne'};</script>
<script src="/diffyne.js" defer></script>
<script type="module" src="/_diffyne/companion.js" data-url="/diffyne"></script>
@endif
</body>
</html>
