<?php

/*
 * What objects and classes held after the application's start, and its return after each call. Comes over standard
 * input, after the bridge.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Composer\Autoload\ClassLoader;
    use Illuminate\Http\Request;
    use Illuminate\Routing\Route;
    use Illuminate\Support\ServiceProvider;
    use ReflectionClass;
    use ReflectionProperty;
    use stdClass;
    use UnitEnum;

    /**
     * The properties of all objects that can be reached from the container and from static properties, and the static
     * properties of all classes.
     *
     * Objects keep their identity: whoever got one at the start still has the one that calls use. PHP copies an array
     * when somebody changes it, so taking costs one reference for each property, and telling whether it was changed one
     * comparison. The assignments that put properties back are compiled once for each class.
     */
    final class Snapshot
    {
        /** The most objects that are taken down. Those beyond are shared by calls. */
        private const OBJECTS_MAX = 20_000;

        /** Objects whose properties no call changes, or that have none. */
        private const EXCLUDED = [Route::class, ClassLoader::class, UnitEnum::class, \Reflector::class,
            \Generator::class, \DateTimeInterface::class, \Fiber::class, Request::class];

        /** Classes whose static properties stay: ours, and the class loader's. */
        private const EXCLUDED_NAMESPACES = ['Diffyne\\Cluster\\', 'Composer\\'];

        /** @var array<string, list<string>> properties that are put back elsewhere, or that may stay, by class */
        private array $kept;

        /** @var list<object> */
        private array $objects = [];

        /** @var list<array<string, mixed>> all properties of each, by PHP's internal names */
        private array $properties = [];

        /** @var list<list<array{Closure, list<mixed>}>> assignments for each object, one for each class that declares some */
        private array $assignments = [];

        /** @var array<string, Closure> the compiled assignments */
        private static array $compiled = [];

        /** @var list<mixed> references to static properties: each can be assigned from here, whatever class it belongs to */
        private array $statics = [];

        /** @var list<mixed> their values */
        private array $staticValues = [];

        /** @var list<array{object, mixed}> collections of PHP's own, with what they held */
        private array $collections = [];

        /** @var list<ReflectionProperty> static properties of a type that had no value: PHP cannot take one away again */
        private array $withoutValue = [];

        /** Classes that have been looked at, in the order in which PHP has declared them. */
        private int $classes = 0;

        /** Whether a class may have been loaded since then. */
        private bool $mayHaveLoaded = false;

        private int $files = 0;

        private int $objectCount = 0;

        /** @param array<string, list<string>> $kept */
        public function __construct(object $container, private string $directory, array $kept)
        {
            $this->kept = $kept;
            $seen = new \SplObjectStorage();
            $waiting = [$container];
            $this->takeClasses(static function (mixed $value) use (&$waiting): void {
                $waiting[] = $value;
            });
            while ($waiting !== []) {
                $this->takeObjects(array_pop($waiting), $seen, $waiting);
            }
            $this->files = count(get_included_files());
            // The first of all loaders: it loads nothing, and learns of every class that has to be loaded.
            spl_autoload_register(function (): void {
                $this->mayHaveLoaded = true;
            }, true, true);
        }

        /** Whether there were no more objects than are taken down. */
        public function isComplete(): bool
        {
            return $this->objectCount < self::OBJECTS_MAX;
        }

        /**
         * Takes the properties of one object down.
         *
         * @param array<string, list<string>> $kept
         * @return Closure(): void puts them back
         */
        public static function ofObject(object $object, array $kept): Closure
        {
            $snapshot = (new ReflectionClass(self::class))->newInstanceWithoutConstructor();
            $snapshot->kept = $kept;
            $ignored = [];
            $snapshot->takeProperties($object, new ReflectionClass($object), $ignored);
            $assignments = $snapshot->assignments[0] ?? [];
            $weak = \WeakReference::create($object);

            return static function () use ($weak, $assignments): void {
                foreach ($assignments as [$assign, $values]) {
                    $assign($weak->get(), $values);
                }
            };
        }

        /** Puts everything back. Returns `false` when something could not be. */
        public function restore(): bool
        {
            $isWhole = true;
            foreach ($this->objects as $index => $object) {
                // Comparing costs less than assigning.
                if (get_mangled_object_vars($object) !== $this->properties[$index]) {
                    try {
                        $this->restoreObject($index);
                    } catch (\Throwable $error) {
                        // Of a destructor, too.
                        fwrite(STDERR, 'an object of '.$object::class." cannot be put back: {$error->getMessage()}\n");
                        $isWhole = false;
                    }
                }
            }
            foreach ($this->collections as [$collection, $held]) {
                self::refill($collection, $held);
            }
            foreach ($this->staticValues as $index => $value) {
                $this->statics[$index] = $value;
            }

            return $this->restoreWithoutValue() && $isWhole;
        }

        private function restoreObject(int $index): void
        {
            $object = $this->objects[$index];
            foreach ($this->assignments[$index] as [$assign, $values]) {
                $assign($object, $values);
            }
            foreach (array_diff_key(get_mangled_object_vars($object), $this->properties[$index]) as $name => $_) {
                // A dynamic property.
                if (! property_exists($object::class, (string) $name) && ! str_contains((string) $name, "\0")) {
                    unset($object->{$name});
                }
            }
        }

        /** Static properties without a value at the start: those that allow null become null, which reads the same to `??=`. */
        private function restoreWithoutValue(): bool
        {
            foreach ($this->withoutValue as $property) {
                if ($property->isInitialized() && ($property->getType()?->allowsNull() ?? true)) {
                    $property->setValue(null, null);
                } elseif ($property->isInitialized()) {
                    return false;
                }
            }

            return true;
        }

        /** Learns the classes that a call has loaded: their static properties go back to what the code declares. */
        public function learnClasses(): void
        {
            // Some are declared by files that are included without a loader.
            $files = count(get_included_files());
            if ($this->mayHaveLoaded || $files !== $this->files) {
                [$this->mayHaveLoaded, $this->files] = [false, $files];
                $this->takeClasses(null);
            }
        }

        /** @param ?Closure(mixed): void $visit called with each static value; without it, declared values are taken */
        private function takeClasses(?Closure $visit): void
        {
            $classes = get_declared_classes();
            [$first, $this->classes] = [$this->classes, count($classes)];
            foreach (array_slice($classes, $first) as $class) {
                $reflection = new ReflectionClass($class);
                // An alias is listed like a class. The class itself has been taken.
                $isAlias = strcasecmp($reflection->getName(), $class) !== 0;
                if ($isAlias || $reflection->isInternal() || ! $this->isIncluded($class)) {
                    continue;
                }
                $values = [];
                foreach ($reflection->getProperties(ReflectionProperty::IS_STATIC) as $property) {
                    $name = $property->getName();
                    $isOwn = $property->getDeclaringClass()->getName() === $reflection->getName();
                    if (! $isOwn || in_array("\$$name", $this->kept[$class] ?? [], true)) {
                        continue;
                    }
                    try {
                        if ($visit === null ? $property->hasDefaultValue() : $property->isInitialized()) {
                            $values[$name] = $visit === null ? $property->getDefaultValue() : $property->getValue();
                            $visit === null || $visit($values[$name]);
                        } elseif ($property->getType()?->allowsNull() || $this->isOwn($reflection)) {
                            $this->withoutValue[] = $property;
                        }
                    } catch (\Error) {
                        // Its declared value cannot be computed. Whoever uses it gets the error.
                    }
                }
                if ($values !== []) {
                    array_push($this->staticValues, ...array_values($values));
                    foreach (self::staticReferences($class, array_keys($values)) as &$reference) {
                        $this->statics[] = &$reference;
                    }
                }
            }
        }

        /** Whether a class is the application's own, and of no package. */
        private function isOwn(ReflectionClass $class): bool
        {
            $file = (string) $class->getFileName();

            return str_starts_with($file, $this->directory.'/') && ! str_starts_with($file, $this->directory.'/vendor/');
        }

        private function isIncluded(string $class): bool
        {
            foreach (self::EXCLUDED_NAMESPACES as $namespace) {
                if (str_starts_with($class, $namespace)) {
                    return false;
                }
            }

            return true;
        }

        private function takeObjects(mixed $value, \SplObjectStorage $seen, array &$waiting): void
        {
            if (is_array($value)) {
                foreach ($value as $part) {
                    (is_array($part) || is_object($part)) && $waiting[] = $part;
                }

                return;
            }
            if (! is_object($value) || isset($seen[$value]) || ! $this->isComplete()) {
                return;
            }
            $seen[$value] = true;
            if ($value instanceof Closure) {
                $function = new \ReflectionFunction($value);
                array_push($waiting, $function->getClosureThis(), ...array_values($function->getClosureUsedVariables()));

                return;
            }
            foreach (self::EXCLUDED as $excluded) {
                if ($value instanceof $excluded) {
                    return;
                }
            }
            if ($value instanceof ServiceProvider && str_starts_with($value::class, 'Illuminate\\')) {
                return;
            }
            $class = new ReflectionClass($value);
            if ((PHP_VERSION_ID >= 80400 && $class->isUninitializedLazyObject($value)) || ! $this->isIncluded($value::class)) {
                return;
            }
            $this->objectCount++;
            if (($held = self::contents($value)) !== null) {
                $this->collections[] = [$value, $held];
                array_push($waiting, ...array_values($held));
            }
            $class->isInternal() || $this->takeProperties($value, $class, $waiting);
        }

        private function takeProperties(object $object, ReflectionClass $class, array &$waiting): void
        {
            $assignments = [];
            // A private property belongs to the class that declares it, and can only be assigned there.
            for ($scope = $class; $scope !== false && ! $scope->isInternal(); $scope = $scope->getParentClass()) {
                $names = $values = $unset = [];
                foreach ($scope->getProperties() as $property) {
                    $isPrivate = $property->isPrivate() || (PHP_VERSION_ID >= 80400 && $property->isPrivateSet());
                    $isHere = $isPrivate ? $property->getDeclaringClass()->getName() === $scope->getName() : $scope === $class;
                    if (! $isHere || ! $this->isRestored($property)) {
                        continue;
                    }
                    if ($property->isInitialized($object)) {
                        $names[] = $property->getName();
                        $values[] = $waiting[] = $property->getValue($object);
                    } elseif ($property->hasType()) {
                        $unset[] = $property->getName();
                    }
                }
                if ($names === [] && $unset === []) {
                    continue;
                }
                $key = $scope->getName().'|'.implode(',', $names).'|'.implode(',', $unset);
                self::$compiled[$key] ??= self::objectAssignment($scope->getName(), $names, $unset);
                $assignments[] = [self::$compiled[$key], $values];
            }
            if ($assignments !== []) {
                $this->objects[] = $object;
                $this->properties[] = self::dereferenced(get_mangled_object_vars($object));
                $this->assignments[] = $assignments;
            }
        }

        /** The values of properties that are references, which would change along. */
        private static function dereferenced(array $values): array
        {
            $copy = [];
            foreach ($values as $name => $value) {
                $copy[$name] = $value;
            }

            return $copy;
        }

        private function isRestored(ReflectionProperty $property): bool
        {
            return ! $property->isStatic() && ! $property->isReadOnly()
                && ! (PHP_VERSION_ID >= 80400 && $property->hasHooks())
                && ! in_array($property->getName(), $this->kept[$property->getDeclaringClass()->getName()] ?? [], true);
        }

        /** @return ?array what a collection of PHP's own holds; null for any other object */
        private static function contents(object $object): ?array
        {
            if ($object instanceof stdClass) {
                return self::dereferenced(get_object_vars($object));
            }
            if ($object instanceof \SplDoublyLinkedList) {
                return iterator_to_array($object, false);
            }
            if ($object instanceof \ArrayObject || $object instanceof \ArrayIterator) {
                return $object->getArrayCopy();
            }
            if ($object instanceof \SplObjectStorage || $object instanceof \WeakMap) {
                $pairs = [];
                foreach ($object as $key => $value) {
                    $pairs[] = $object instanceof \WeakMap ? [$key, $value] : [$value, $object[$value]];
                }

                return $pairs;
            }

            return null;
        }

        private static function refill(object $collection, array $held): void
        {
            if (self::contents($collection) === $held) {
                return;
            }
            if ($collection instanceof stdClass) {
                foreach (array_diff_key(get_object_vars($collection), $held) as $name => $_) {
                    unset($collection->{$name});
                }
                foreach ($held as $name => $value) {
                    $collection->{$name} = $value;
                }
            } elseif ($collection instanceof \ArrayObject) {
                $collection->exchangeArray($held);
            } elseif ($collection instanceof \ArrayIterator) {
                foreach (array_keys($collection->getArrayCopy()) as $key) {
                    unset($collection[$key]);
                }
                foreach ($held as $key => $value) {
                    $collection[$key] = $value;
                }
            } elseif ($collection instanceof \SplDoublyLinkedList) {
                while (count($collection) > 0) {
                    $collection->pop();
                }
                array_map($collection->push(...), $held);
            } else {
                foreach (self::contents($collection) as [$key]) {
                    unset($collection[$key]);
                }
                foreach ($held as [$key, $value]) {
                    $collection[$key] = $value;
                }
            }
        }

        /** @return Closure(object, list<mixed>): void */
        private static function objectAssignment(string $scope, array $names, array $unset): Closure
        {
            $code = '';
            foreach ($names as $index => $name) {
                $code .= "\$object->{'$name'} = \$values[$index];";
            }
            foreach ($unset as $name) {
                $code .= "unset(\$object->{'$name'});";
            }

            return Closure::bind(eval("return static function (object \$object, array \$values): void { $code };"), null, $scope);
        }

        private static function staticReferences(string $class, array $names): array
        {
            $references = implode(', ', array_map(static fn (string $name) => "&self::\$$name", $names));

            return Closure::bind(eval("return static fn (): array => [$references];"), null, $class)();
        }
    }
}
