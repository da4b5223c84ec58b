<?php

namespace Diffyne\Cluster;

use Closure;
use Diffyne\Component;
use Diffyne\State\ComponentHydrator;
use Illuminate\Support\MessageBag;
use ReflectionMethod;
use UnitEnum;

/** Hydrates components as the package does, and reads the attributes of each class once. */
final class ComponentFactory
{
    /** What may give a new component something of its own, where a class overrides it. */
    private const CONSTRUCTION = ['__construct', 'generateId', 'initializeProperties', 'registerEventListeners'];

    /** @var array<string, ?Component> a new component of each class; null where each has to be constructed */
    private static array $prototypes = [];

    private static ?Closure $renew = null;

    /** @param array<string, mixed> $state */
    public static function hydrate(ComponentHydrator $hydrator, string $class, array $state, string $id): Component
    {
        if (! array_key_exists($class, self::$prototypes)) {
            self::$prototypes[$class] = self::prototype($hydrator, $class);
        }
        $prototype = self::$prototypes[$class];
        if ($prototype === null) {
            return $hydrator->hydrate($class, $state, $id);
        }
        $component = clone $prototype;
        self::$renew ??= Closure::bind(static function (Component $component): void {
            $component->errorBag = new MessageBag();
        }, null, Component::class);
        (self::$renew)($component);
        $component->id = $id;
        $component->restoreState($state);
        $component->hydrate();
        $component->snapshot();

        return $component;
    }

    /** A new component, if a copy of it is as good as another new one. */
    private static function prototype(ComponentHydrator $hydrator, string $class): ?Component
    {
        if ($hydrator::class !== ComponentHydrator::class || method_exists($class, '__clone')) {
            return null;
        }
        foreach ([...self::CONSTRUCTION, 'snapshot'] as $method) {
            if (! method_exists($class, $method) || (new ReflectionMethod($class, $method))->getDeclaringClass()->getName() !== Component::class) {
                return null;
            }
        }
        $prototype = new $class();
        $values = get_mangled_object_vars($prototype);
        unset($values["\0*\0errorBag"]);
        $hasObject = false;
        array_walk_recursive($values, static function (mixed $value) use (&$hasObject): void {
            $hasObject = $hasObject || (is_object($value) && ! $value instanceof UnitEnum);
        });

        return $hasObject ? null : $prototype;
    }
}
