<?php

/*
 * Properties of objects that an assignment does not put back: those with hooks, readonly ones, those without a value, and
 * objects that are initialized at first use. Comes over standard input, after the bridge.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Error;
    use ReflectionClass;
    use ReflectionProperty;

    /** One property of an object, whatever it is. */
    final class Properties
    {
        /** Whether a property stores a value now. */
        public static function hasValue(ReflectionProperty $property, object $object): bool
        {
            return ! (PHP_VERSION_ID >= 80400 && $property->isVirtual()) && $property->isInitialized($object);
        }

        /** What it stores. A hook does not run. */
        public static function value(ReflectionProperty $property, object $object): mixed
        {
            return self::hasHooks($property) ? $property->getRawValue($object) : $property->getValue($object);
        }

        public static function hasHooks(ReflectionProperty $property): bool
        {
            return PHP_VERSION_ID >= 80400 && $property->hasHooks();
        }

        /** Whether an assignment puts it back. */
        public static function isAssignable(ReflectionProperty $property): bool
        {
            return ! $property->isReadOnly() && ! self::hasHooks($property);
        }

        /**
         * Gives an object the properties that it had.
         *
         * @param array<string, mixed> $was all properties, by PHP's internal names
         *
         * @throws Error if PHP gives no way
         */
        public static function restore(object $object, array $was): void
        {
            self::unsetOthers($object, $was);
            $now = get_mangled_object_vars($object);
            foreach ($was as $name => $value) {
                if (array_key_exists($name, $now) && $now[$name] === $value) {
                    continue;
                }
                $property = self::declared($object, (string) $name);
                if ($property === null) {
                    $object->{$name} = $value;
                } elseif (self::hasHooks($property)) {
                    $property->setRawValue($object, $value);
                }
            }
            self::hasNamesOf($object, $was) || self::rebuild($object, $was);
        }

        /** Unsets what PHP lets code unset. */
        private static function unsetOthers(object $object, array $was): void
        {
            foreach (array_diff_key(get_mangled_object_vars($object), $was) as $name => $_) {
                $property = self::declared($object, (string) $name);
                if ($property === null) {
                    unset($object->{$name});
                } elseif (self::isAssignable($property)) {
                    $unset = static function (object $object, string $name): void {
                        unset($object->{$name});
                    };
                    Closure::bind($unset, null, $property->getDeclaringClass()->getName())($object, $property->getName());
                }
            }
        }

        private static function hasNamesOf(object $object, array $was): bool
        {
            $now = get_mangled_object_vars($object);

            return array_diff_key($now, $was) === [] && count($now) === count($was);
        }

        /** The declared property with this internal name; null if it is a dynamic one. */
        public static function declared(object $object, string $name): ?ReflectionProperty
        {
            $parts = explode("\0", $name);
            $class = ($parts[1] ?? '*') === '*' ? $object::class : $parts[1];

            if (! property_exists($class, end($parts))) {
                return null;
            }
            $property = new ReflectionProperty($class, end($parts));

            // Only the class that declares it may set one that is private(set).
            return new ReflectionProperty($property->getDeclaringClass()->getName(), end($parts));
        }

        /** Takes values away that PHP does not let code unset: only an object that has become lazy has none. */
        private static function rebuild(object $object, array $was): void
        {
            $class = new ReflectionClass($object);
            if (PHP_VERSION_ID < 80400) {
                throw new Error('a readonly property was set');
            }
            $class->resetAsLazyGhost($object, static fn () => null, ReflectionClass::SKIP_DESTRUCTOR);
            LazyObject::setValues($object, $class, $was);
            LazyObject::endLaziness($object);
            foreach ($was as $name => $value) {
                self::declared($object, (string) $name) === null && $object->{$name} = $value;
            }
            self::unsetOthers($object, $was);
            self::hasNamesOf($object, $was) || throw new Error('a readonly property of a final class was set');
        }
    }

    /** An object that was not initialized after the application's start, and is not again after each call. */
    final class LazyObject
    {
        public readonly Closure $initializer;

        /** @var array<string, mixed> the values that it has all the same, by PHP's internal names */
        public readonly array $properties;

        public function __construct(public readonly object $object, private ReflectionClass $class)
        {
            $this->initializer = Closure::fromCallable($class->getLazyInitializer($object));
            $this->properties = get_mangled_object_vars($object);
        }

        /** @throws Error if PHP gives no way */
        public function restore(): void
        {
            if ($this->class->isUninitializedLazyObject($this->object)) {
                get_mangled_object_vars($this->object) === $this->properties || throw new Error('a lazy object was given a value');

                return;
            }
            // Of a proxy, this is the object behind it.
            $isProxy = $this->class->initializeLazyObject($this->object) !== $this->object;
            $isProxy
                ? $this->class->resetAsLazyProxy($this->object, $this->initializer, ReflectionClass::SKIP_DESTRUCTOR)
                : $this->class->resetAsLazyGhost($this->object, $this->initializer, ReflectionClass::SKIP_DESTRUCTOR);
            self::setValues($this->object, $this->class, $this->properties);
            get_mangled_object_vars($this->object) === $this->properties || throw new Error('a lazy object of a final class was initialized');
        }

        /** Initializes an object that a call has made lazy, without its initializer. */
        public static function endLaziness(object $object): void
        {
            $class = new ReflectionClass($object);
            if (PHP_VERSION_ID >= 80400 && $class->isUninitializedLazyObject($object)) {
                $class->markLazyObjectAsInitialized($object);
            }
        }

        /**
         * Gives a lazy object its declared properties.
         *
         * @param array<string, mixed> $values by PHP's internal names
         */
        public static function setValues(object $object, ReflectionClass $class, array $values): void
        {
            // The readonly properties of a final class still have theirs.
            foreach (array_diff_key($values, get_mangled_object_vars($object)) as $name => $value) {
                // With the last one, it may be no lazy object any more.
                if ($class->isUninitializedLazyObject($object)) {
                    Properties::declared($object, (string) $name)?->setRawValueWithoutLazyInitialization($object, $value);
                }
            }
        }
    }
}
