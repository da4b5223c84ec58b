<?php
return [App\Providers\AppServiceProvider::class, Diffyne\DiffyneServiceProvider::class];
