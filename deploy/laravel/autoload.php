<?php

/*
 * Loads the package's classes where Composer does not: `require_once base_path('diffyne-cluster/autoload.php');`, and
 * then register Diffyne\Cluster\Providers\ClusterServiceProvider.
 */

spl_autoload_register(static function (string $class): void {
    $prefix = 'Diffyne\\Cluster\\';
    if (! str_starts_with($class, $prefix)) {
        return;
    }
    $file = __DIR__.'/src/'.strtr(substr($class, strlen($prefix)), '\\', '/').'.php';
    if (is_file($file)) {
        require $file;
    }
});
