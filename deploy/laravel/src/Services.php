<?php

namespace Diffyne\Cluster;

use Closure;
use Illuminate\Container\Container;

/** Services of the application that are made already, without asking the container's callbacks about each. */
final class Services
{
    private static ?Closure $find = null;

    public static function get(string $name): object
    {
        $app = Container::getInstance();
        self::$find ??= Closure::bind(static fn (Container $app, string $name) => $app->instances[$name] ?? $app->make($name), null, Container::class);

        return (self::$find)($app, $name);
    }
}
