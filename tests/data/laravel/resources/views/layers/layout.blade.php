<div><h1>@yield('title', 'no title')</h1>@section('body')<p>of the layout</p>@show @hasSection('foot')<footer>@yield('foot')</footer>@endif</div>
