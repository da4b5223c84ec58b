<?php

return [App\Providers\AppServiceProvider::class, App\Providers\IsolationProvider::class, Diffyne\DiffyneServiceProvider::class];
