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
     * comparison. The assignments that put properties back are compiled once for each class. Nothing of this runs a
     * property's hook, or initializes a lazy object.
     */
    final class Snapshot
    {
        /** The most objects that are taken down. Those beyond are shared by calls. */
        private const OBJECTS_MAX = 20_000;

        /** Objects whose properties no call changes, or that have none. */
        private const EXCLUDED = [Route::class, ClassLoader::class, UnitEnum::class, \Reflector::class,
            \Generator::class, \DateTimeInterface::class, \Fiber::class, Request::class];

        /** Objects of these, which the framework makes at its start, print to a terminal: calls have none. */
        private const TERMINAL = 'Symfony\\Component\\Console\\';

        /** Classes whose static properties stay: ours, and the class loader's. */
        private const EXCLUDED_NAMESPACES = ['Diffyne\\Cluster\\', 'Composer\\'];

        /** @var array<string, list<string>> properties that are put back elsewhere, or that may stay, by class */
        private array $kept;

        /** @var list<object> */
        private array $objects = [];

        /** @var list<array<string, mixed>> all properties of each, by PHP's internal names; of one with hooks, what it stores */
        private array $properties = [];

        /** @var array<int, true> objects some of whose properties are not put back by an assignment */
        private array $unassignable = [];

        /** @var array<int, array<string, array{Closure, list<mixed>, array<int, string>}>> what to assign to objects that calls have changed before: most calls change the same few */
        private array $usual = [];

        /** @var list<LazyObject> objects that were not initialized */
        private array $lazyObjects = [];

        private ClosureVariables $closures;

        /** Objects that have been looked at. */
        private \SplObjectStorage $seen;

        /** @var list<list<array{string, list<string>, list<mixed>, Closure}>> what to assign to each object, for each class that declares some */
        private array $assignments = [];

        /** @var array<string, Closure> the compiled assignments */
        private static array $compiled = [];

        /** @var list<mixed> references to static properties: each can be assigned from here, whatever class it belongs to */
        private array $statics = [];

        /** @var list<mixed> their values */
        private array $staticValues = [];

        /** @var array<int, array> those that are arrays: a comparison sees neither their position nor their next key */
        private array $staticArrays = [];

        /** @var list<array{object, mixed}> collections of PHP's own, with what they held */
        private array $collections = [];

        /** @var list<ReflectionProperty> static properties of a type that had no value: PHP cannot take one away again */
        private array $withoutValue = [];

        /** Classes that have been looked at, in the order in which PHP has declared them. */
        private int $classes = 0;

        private int $files = 0;

        private int $objectCount = 0;

        /** @param array<string, list<string>> $kept */
        public function __construct(object $container, private string $directory, array $kept)
        {
            $this->kept = $kept;
            $this->seen = new \SplObjectStorage();
            $this->closures = new ClosureVariables($directory);
            $this->takeAll([$container, ...$this->takeClasses(false)]);
            $this->files = count(get_included_files());
        }

        private function takeAll(array $waiting): void
        {
            while ($waiting !== []) {
                $this->takeObjects(array_pop($waiting), $waiting);
            }
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
            $weak = \WeakReference::create($object);
            $snapshot->objects = [];

            return static fn () => $snapshot->restoreObject($weak->get(), get_mangled_object_vars($weak->get()), 0);
        }

        /** Puts everything back. Returns `false` when something could not be. */
        public function restore(): bool
        {
            $isWhole = true;
            foreach ($this->lazyObjects as $lazyObject) {
                try {
                    $lazyObject->restore();
                } catch (\Throwable $error) {
                    $isWhole = self::warn($lazyObject->object, $error);
                }
            }
            foreach ($this->usual as $index => $_) {
                $isWhole = $this->restoreUsual($index) && $isWhole;
            }
            foreach ($this->objects as $index => $object) {
                $now = get_mangled_object_vars($object);
                // Comparing costs less than assigning.
                if ($now !== $this->properties[$index]) {
                    $isWhole = $this->restoreChanged($index, $now) && $isWhole;
                }
            }
            foreach ($this->collections as [$collection, $held]) {
                self::refill($collection, $held);
            }
            foreach ($this->statics === $this->staticValues ? $this->staticArrays : $this->staticValues as $index => $value) {
                $this->statics[$index] = $value;
            }

            return $this->restoreWithoutValue() && $isWhole;
        }

        /** Learns which properties of an object a call has changed. */
        private function learnUsual(int $index, array $now): void
        {
            $changed = [];
            foreach ($this->properties[$index] as $name => $value) {
                if (array_key_exists($name, $now) && $now[$name] !== $value) {
                    $parts = explode("\0", (string) $name);
                    $changed[] = end($parts);
                }
            }
            $known = &$this->usual[$index];
            $known ??= [];
            foreach ($this->assignments[$index] as [$scope, $names, $values]) {
                $names = array_intersect($names, [...$changed, ...($known[$scope][2] ?? [])]);
                $names === [] || $known[$scope] = [self::assigning($scope, $names), array_values(array_intersect_key($values, $names)), $names];
            }
        }

        /** Puts properties of an object back that calls have changed before: comparing long arrays costs more than assigning them. */
        private function restoreUsual(int $index): bool
        {
            $object = $this->objects[$index];
            try {
                // One with fewer may have become lazy.
                if (count(get_mangled_object_vars($object)) === count($this->properties[$index])) {
                    foreach ($this->usual[$index] as [$assign, $values]) {
                        $assign($object, $values);
                    }
                }
            } catch (\Throwable $error) {
                return self::warn($object, $error);
            }

            return true;
        }

        private function restoreChanged(int $index, array $now): bool
        {
            try {
                $this->learnUsual($index, $now);
                $this->restoreObject($this->objects[$index], $now, $index);
            } catch (\Throwable $error) {
                // Of a destructor, too.
                return self::warn($this->objects[$index], $error);
            }

            return true;
        }

        private static function warn(object $object, \Throwable $error): bool
        {
            fwrite(STDERR, 'an object of '.$object::class." cannot be put back: {$error->getMessage()}\n");

            return false;
        }

        /** Whether the variables of closures are as they were. PHP gives no way to put most of them back. */
        public function restoreClosures(): bool
        {
            return $this->closures->restore();
        }

        private function restoreObject(object $object, array $now, int $index): void
        {
            $was = $this->properties[$index];
            // A lazy object has no properties.
            count($now) < count($was) && LazyObject::endLaziness($object);
            $this->assign($object, $index);
            if (isset($this->unassignable[$index]) || count($now) !== count($was) || array_diff_key($now, $was) !== []) {
                Properties::restore($object, $was);
            }
        }

        private function assign(object $object, int $index): void
        {
            foreach ($this->assignments[$index] as [$scope, $names, $values, $assign]) {
                $assign($object, $values);
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

        /**
         * Has a class loaded.
         *
         * Whatever the code of a file sets in classes when it is loaded would be set in each request of another server, so
         * it stays: in its own class, and in others where the call has not changed the same.
         *
         * @param Closure(): void $load
         */
        public function loadClass(Closure $load): void
        {
            // Those of a file that the call has included before.
            $this->takeClasses(true);
            $unchanged = [];
            foreach ($this->staticValues as $index => $value) {
                $this->statics[$index] === $value && $unchanged[] = $index;
            }
            $load();
            foreach ($unchanged as $index) {
                $this->staticValues[$index] = $this->statics[$index];
            }
            $this->takeAll($this->takeClasses(false));
            $this->staticArrays = array_filter($this->staticValues, is_array(...));
        }

        /**
         * Learns the classes of files that a call has included without a loader: they go back to what the code declares.
         *
         * @return bool whether there were any files
         */
        public function learnClasses(): bool
        {
            $files = count(get_included_files());
            if ($files === $this->files) {
                return false;
            }
            $this->files = $files;
            $this->takeClasses(true);

            return true;
        }

        /** @return list<mixed> the values of static properties: the present ones, or the declared ones */
        private function takeClasses(bool $declared): array
        {
            $taken = [];
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
                        if ($declared ? $property->hasDefaultValue() : $property->isInitialized()) {
                            $values[$name] = $declared ? $property->getDefaultValue() : $property->getValue();
                        } elseif ($property->getType()?->allowsNull() || $this->isOwn($reflection)) {
                            $this->withoutValue[] = $property;
                        }
                    } catch (\Error) {
                        // Its declared value cannot be computed. Whoever uses it gets the error.
                    }
                }
                if ($values !== []) {
                    array_push($this->staticValues, ...array_values($values));
                    array_push($taken, ...array_values($values));
                    foreach (self::staticReferences($class, array_keys($values)) as &$reference) {
                        $this->statics[] = &$reference;
                    }
                }
            }

            $this->staticArrays = array_filter($this->staticValues, is_array(...));

            return $taken;
        }

        /** Whether a class is the application's own, and of no package. */
        private function isOwn(ReflectionClass $class): bool
        {
            return ClosureVariables::isOwnFile((string) $class->getFileName(), $this->directory);
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

        private function takeObjects(mixed $value, array &$waiting): void
        {
            if (is_array($value)) {
                foreach ($value as $part) {
                    (is_array($part) || is_object($part)) && $waiting[] = $part;
                }

                return;
            }
            if (! is_object($value) || isset($this->seen[$value]) || ! $this->isComplete()) {
                return;
            }
            $this->seen[$value] = true;
            if ($value instanceof Closure) {
                array_push($waiting, ...$this->closures->take($value));

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
            if (! $this->isIncluded($value::class) || str_starts_with($value::class, self::TERMINAL)) {
                return;
            }
            $this->objectCount++;
            if (PHP_VERSION_ID >= 80400 && $class->isUninitializedLazyObject($value)) {
                $this->lazyObjects[] = $lazyObject = new LazyObject($value, $class);
                array_push($waiting, $lazyObject->initializer, ...array_values($lazyObject->properties));

                return;
            }
            if (($held = self::contents($value)) !== null) {
                $this->collections[] = [$value, $held];
                array_push($waiting, ...array_values($held));
            }
            $class->isInternal() || $this->takeProperties($value, $class, $waiting);
        }

        private function takeProperties(object $object, ReflectionClass $class, array &$waiting): void
        {
            $assignments = [];
            $hasOthers = false;
            // A private property belongs to the class that declares it, and can only be assigned there.
            for ($scope = $class; $scope !== false && ! $scope->isInternal(); $scope = $scope->getParentClass()) {
                $names = $values = [];
                foreach ($scope->getProperties() as $property) {
                    $isPrivate = $property->isPrivate() || (PHP_VERSION_ID >= 80400 && $property->isPrivateSet());
                    $isHere = $isPrivate ? $property->getDeclaringClass()->getName() === $scope->getName() : $scope === $class;
                    if (! $isHere || $property->isStatic() || $this->isKept($property) || ! Properties::hasValue($property, $object)) {
                        continue;
                    }
                    $value = $waiting[] = Properties::value($property, $object);
                    if (Properties::isAssignable($property)) {
                        $names[] = $property->getName();
                        $values[] = $value;
                    }
                    $hasOthers = $hasOthers || Properties::hasHooks($property);
                }
                if ($names !== []) {
                    $assignments[] = [$scope->getName(), $names, $values, self::assigning($scope->getName(), $names)];
                }
            }
            $properties = self::dereferenced(get_mangled_object_vars($object));
            foreach ($properties as $name => $value) {
                if (! str_contains((string) $name, "\0") && ! $class->hasProperty((string) $name)) {
                    $waiting[] = $value;
                    $hasOthers = true;
                }
            }
            if ($properties === [] && $class->getProperties() === []) {
                return;
            }
            if ($hasOthers) {
                $this->unassignable[count($this->objects)] = true;
            }
            $this->objects[] = $object;
            $this->properties[] = $properties;
            $this->assignments[] = $assignments;
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

        private function isKept(ReflectionProperty $property): bool
        {
            return in_array($property->getName(), $this->kept[$property->getDeclaringClass()->getName()] ?? [], true);
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

        /**
         * Assigns properties of these names, which this class declares.
         *
         * @return Closure(object, list<mixed>): void
         */
        private static function assigning(string $scope, array $names): Closure
        {
            return self::$compiled[$scope.'|'.implode(',', $names)] ??= (static function () use ($scope, $names): Closure {
                $code = '';
                foreach (array_values($names) as $index => $name) {
                    $code .= "\$object->{'$name'} = \$values[$index];";
                }

                return Closure::bind(eval("return static function (object \$object, array \$values): void { $code };"), null, $scope);
            })();
        }

        private static function staticReferences(string $class, array $names): array
        {
            $references = implode(', ', array_map(static fn (string $name) => "&self::\$$name", $names));

            return Closure::bind(eval("return static fn (): array => [$references];"), null, $class)();
        }
    }
}
