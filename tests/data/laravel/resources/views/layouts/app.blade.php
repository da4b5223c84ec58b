<!doctype html>
<html>
<head><meta charset="utf-8"><title>@yield('title')</title><link rel="icon" href="data:,"></head>
<body>
    @yield('content')
    @diffyneScripts
</body>
</html>
