<?php

namespace Diffyne\Cluster;

use Closure;
use Illuminate\Container\Container;
use ReflectionMethod;

/** Services of the application that are made already, without asking the container's callbacks about each. */
final class Services
{
    private static ?Closure $find = null;

    /** Puts an instance into a container; false where the container would have to be asked. */
    private static ?Closure $put = null;

    public static function get(string $name): object
    {
        $app = Container::getInstance();
        self::$find ??= Closure::bind(static fn (Container $app, string $name) => $app->instances[$name] ?? $app->make($name), null, Container::class);

        return (self::$find)($app, $name);
    }

    /** Makes this the instance of a service, and tells those who have asked to be told. */
    public static function set(string $name, object $instance): void
    {
        $app = Container::getInstance();
        self::$put ??= self::puts($app);
        (self::$put)($app, $name, $instance) || $app->instance($name, $instance);
    }

    private static function puts(Container $app): Closure
    {
        foreach (['instance', 'rebound', 'getReboundCallbacks'] as $method) {
            if ((new ReflectionMethod($app, $method))->getDeclaringClass()->getName() !== Container::class) {
                return static fn (): bool => false;
            }
        }

        return Closure::bind(static function (Container $app, string $name, object $instance): bool {
            if (isset($app->aliases[$name]) || ($app->globalBeforeResolvingCallbacks ?? []) !== [] || ($app->beforeResolvingCallbacks ?? []) !== []) {
                return false;
            }
            $isBound = isset($app->instances[$name]) || $app->bound($name);
            $app->instances[$name] = $instance;
            foreach ($isBound ? $app->reboundCallbacks[$name] ?? [] : [] as $callback) {
                $callback($app, $instance);
            }

            return true;
        }, null, Container::class);
    }
}
