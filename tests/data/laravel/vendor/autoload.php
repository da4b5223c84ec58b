<?php
// Laravel comes from Debian's packages; only the application's own classes, and the Diffyne package, are mapped here.
require_once '/usr/share/php/Illuminate/autoload.php';
spl_autoload_register(function (string $class): void {
    $folders = ['App\\' => __DIR__.'/../app/', 'Diffyne\\' => __DIR__.'/../diffyne/src/'];
    foreach ($folders as $prefix => $folder) {
        $file = $folder.str_replace('\\', '/', substr($class, strlen($prefix))).'.php';
        if (str_starts_with($class, $prefix) && is_file($file)) {
            require $file;
        }
    }
});
