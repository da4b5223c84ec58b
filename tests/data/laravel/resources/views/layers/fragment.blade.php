<div>@fragment('part')<i>{{ $text }}</i>@endfragment<b>{{ count($__env->getFragments()) }}</b></div>
