<?php

namespace Diffyne\Cluster;

use Attribute;
use ReflectionClass;
use ReflectionMethod;

/**
 * Marks methods, or all methods of a class, whose result depends on the component's state and the parameters alone, and
 * not on the user: not on the session, cookies, headers, the address, or the component's id other than as it is.
 *
 * When many pages react to one broadcast with an equal call, a worker's pool runs it once.
 */
#[Attribute(Attribute::TARGET_CLASS | Attribute::TARGET_METHOD)]
final class Shared
{
    /** @var array<string, bool> */
    private static array $methods = [];

    public static function marks(string $class, string $method): bool
    {
        return self::$methods["$class::$method"] ??= (new ReflectionMethod($class, $method))->getAttributes(self::class) !== []
            || (new ReflectionClass($class))->getAttributes(self::class) !== [];
    }
}
