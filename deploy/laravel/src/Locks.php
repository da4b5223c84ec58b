<?php

namespace Diffyne\Cluster;

use Closure;
use Diffyne\Attributes\Computed;
use Diffyne\Attributes\Lazy;
use Diffyne\Attributes\Locked;
use Diffyne\Attributes\QueryString;
use Diffyne\Component;
use Diffyne\DiffyneManager;
use Diffyne\VirtualDOM\Renderer;
use FilesystemIterator;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Routing\Events\RouteMatched;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;
use ReflectionClass;
use ReflectionMethod;
use ReflectionProperty;
use Throwable;

/** Locked properties, which clients see and must not change: verifies and signs their values. */
final class Locks
{
    /** The same label as in the worker, which verifies these signatures. */
    private const LABEL = 'diffyne locked values 1';

    private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;

    /** The parameter with the lock over a mount's other parameters. No property has such a name. */
    private const PARAMS_LOCK = 'diffyne:lock';

    /** The most component files that are searched. */
    private const FILES_MAX = 2000;

    /** @var array<string, array{visible: array<string, true>, locked: array<string, true>, protected: array<string, true>, query: array<string, string>}> */
    private static array $classes = [];

    /** @var array<string, bool> */
    private static array $unique = [];

    /**
     * The properties of a class: the visible ones, the locked ones among them, those whose values clients may not
     * choose, and the names that some have in the page's address.
     *
     * @return array{visible: array<string, true>, locked: array<string, true>, protected: array<string, true>, query: array<string, string>}
     */
    public static function of(string $class): array
    {
        return self::$classes[$class] ??= (static function () use ($class): array {
            // Its constructor has read the attributes, and may have added more names.
            $lists = Closure::bind(fn () => [$this->hidden ?? [], $this->locked ?? [], $this->computed ?? []], new $class(), Component::class);

            return self::describe($class, ...$lists());
        })();
    }

    private static function describe(string $class, array $hidden, array $locked, array $computed): array
    {
        $hidden = array_fill_keys($hidden, true);
        $locked = array_fill_keys([...$locked, ...$computed], true);
        $names = $query = [];
        foreach ((new ReflectionClass($class))->getProperties(ReflectionProperty::IS_PUBLIC) as $property) {
            $name = $property->getName();
            if ($property->isStatic() || $property->getDeclaringClass()->getName() === Component::class) {
                continue;
            }
            $names[$name] = true;
            // Such a computed property is not part of the state.
            $property->getAttributes(Computed::class) === [] || $hidden[$name] = true;
            $property->getAttributes(Locked::class) === [] || $locked[$name] = true;
            foreach ($property->getAttributes(QueryString::class) as $attribute) {
                $query[$name] = $attribute->newInstance()->as ?? $name;
            }
        }
        $visible = array_diff_key($names, $hidden);

        return [
            'visible' => $visible,
            'locked' => array_intersect_key($locked, $visible),
            'protected' => $hidden + $locked,
            'query' => $query,
        ];
    }

    /**
     * The state that a call starts from. A signature has to cover its locked values.
     *
     * @param array<string, mixed> $state the client's state
     * @param array<string, mixed> $base  the state that the client says the server sent
     * @param mixed                $trust what the worker has verified: `base`, names of the state, or upstream's rules
     */
    public static function verifiedState(string $class, array $state, array $base, mixed $trust): array
    {
        ['visible' => $visible, 'locked' => $locked, 'protected' => $protected] = self::of($class);
        $state = array_diff_key($state, array_diff_key($protected, $locked));
        if ($locked === [] || $trust === 'upstream') {
            return $state;
        }
        if (is_array($trust) && array_diff_key($locked, array_fill_keys($trust, true)) === []) {
            return $state;
        }
        $isWhole = count($base) === count($visible) && array_diff_key($visible, $base) === [];
        if ($trust === 'base' && $isWhole && self::hasUniqueState($class)) {
            return array_intersect_key($base, $locked) + $state;
        }
        // A submitted form does not fill in locked properties.
        $filled = static fn (mixed $value): bool => is_scalar($value) && ! is_float($value) && (bool) $value;
        if ($trust === 'upstream form' && array_filter(array_intersect_key($state, $locked), $filled) === []) {
            return $state;
        }
        throw new CallRejection('unsigned', '');
    }

    /** The signature of a state: the package's own, followed by ours over class, component and locked values. */
    public static function signature(Component $component, array $state, string $signature, mixed $trust): string
    {
        $signature = explode('.', $signature, 2)[0];
        $values = array_intersect_key($state, self::of($component::class)['locked']);
        if ($values === [] || in_array($trust, ['upstream', 'upstream form'], true)) {
            return $signature;
        }

        return $signature.'.'.self::lock($component::class, $component->id, $values).'.'.self::encodedNames($values);
    }

    /**
     * The parameters with which a client may mount a class.
     *
     * Of those that are locked, hidden or computed these are the ones that the page's server has signed.
     *
     * @param array<string, mixed> $params the client's, of public properties
     * @param list<string>         $signed the names whose lock the worker has verified
     */
    public static function mountParams(string $class, array $params, array $signed): array
    {
        return array_diff_key($params, array_diff_key(self::of($class)['protected'], array_flip($signed)));
    }

    /** The values of properties that the page has in its address, by their names there. None of them is protected. */
    public static function queryParams(string $class, array $query): array
    {
        $values = [];
        foreach (array_diff_key(self::of($class)['query'], self::of($class)['protected']) as $property => $name) {
            isset($query[$name]) && $values[$property] = $query[$name];
        }

        return $values;
    }

    /** The parameters of a lazy component for its page, with a lock over those that clients may not choose. */
    public static function signedParams(string $class, array $params): array
    {
        $values = array_intersect_key($params, self::of($class)['protected']);
        if ($values === []) {
            return $params;
        }

        return $params + [self::PARAMS_LOCK => self::lock($class, '', $values).'.'.self::encodedNames($values)];
    }

    private static function encodedNames(array $values): string
    {
        return rtrim(strtr(base64_encode(json_encode(array_keys($values), self::JSON)), '+/', '-_'), '=');
    }

    public static function lock(string $class, string $id, array $values): string
    {
        $document = ['class' => strtolower(ltrim($class, '\\')), 'id' => $id, 'values' => $values];
        // In the form that comes back from the client: objects become arrays of what they encode.
        $document = json_decode(json_encode($document, self::JSON), true, 512, JSON_THROW_ON_ERROR);
        $document = self::sorted(PageState::returned($document) ?? $document);
        $printed = json_encode($document, self::JSON | JSON_FORCE_OBJECT);

        return hash_hmac('sha256', $printed, hash_hmac('sha256', self::LABEL, Bridge::key(), true));
    }

    /** Sorts keys by their bytes at every level: browsers may change their order. */
    private static function sorted(array $values): array
    {
        ksort($values, SORT_STRING);

        return array_map(static fn (mixed $value) => is_array($value) ? self::sorted($value) : $value, $values);
    }

    /**
     * Whether no other component has a state of the same names.
     *
     * Only then the package's signature, which names no class, can be about this one alone.
     */
    private static function hasUniqueState(string $class): bool
    {
        return self::$unique[$class] ??= (static function () use ($class): bool {
            $own = self::of($class)['visible'];
            foreach ([...get_declared_classes(), ...self::classesInFolder($class)] as $other) {
                if (strcasecmp($other, ltrim($class, '\\')) === 0 || ! is_subclass_of($other, Component::class)) {
                    continue;
                }
                $reflection = new ReflectionClass($other);
                $visible = self::describe($other, $reflection->getDefaultProperties()['hidden'] ?? [], [], [])['visible'];
                if (! $reflection->isAbstract() && count($visible) === count($own) && array_diff_key($visible, $own) === []) {
                    return false;
                }
            }

            return true;
        })();
    }

    /** @return list<string> the classes in the components' folder */
    private static function classesInFolder(string $class): array
    {
        $namespace = trim((string) config('diffyne.component_namespace', 'App\\Diffyne'), '\\').'\\';
        $class = (new ReflectionClass($class))->getName();
        $ending = strtr(substr($class, strlen($namespace)), '\\', '/').'.php';
        $file = (string) (new ReflectionClass($class))->getFileName();
        // The folder of this class, or the usual one.
        $isHere = str_starts_with($class, $namespace) && str_ends_with($file, '/'.$ending);
        $folder = $isHere ? substr($file, 0, -strlen($ending)) : app_path(strtr(explode('\\', $namespace, 2)[1] ?? '', '\\', '/'));
        if (! is_dir($folder)) {
            return [];
        }
        $classes = [];
        foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($folder, FilesystemIterator::SKIP_DOTS)) as $file) {
            if (count($classes) >= self::FILES_MAX || $file->getExtension() !== 'php') {
                continue;
            }
            $class = $namespace.strtr(substr($file->getPathname(), strlen(rtrim($folder, '/')) + 1, -4), '/', '\\');
            try {
                class_exists($class) && $classes[] = $class;
            } catch (Throwable) {
                // A class that cannot be loaded is no other component.
            }
        }

        return $classes;
    }

    /** The package's renderer with our signature, which pages get with their first state. */
    public static function signingRenderer(Renderer $renderer): Renderer
    {
        if ($renderer::class !== Renderer::class || config('diffyne.cluster.locked') === 'upstream') {
            return $renderer;
        }

        return new class () extends Renderer implements PackageRenderer {
            public function renderInitial(Component $component): array
            {
                $rendered = parent::renderInitial($component);
                // The package would render an empty state.
                PageState::encodable($component, $rendered['state'], static fn () => json_encode($rendered['state'], JSON_THROW_ON_ERROR));

                return self::signed($component, $rendered);
            }

            public function renderUpdate(Component $component): array
            {
                return self::signed($component, parent::renderUpdate($component));
            }

            private static function signed(Component $component, array $rendered): array
            {
                // The page's script is not known here. One that keeps no integers is told at its first call.
                $signature = PageState::signature($component, $rendered['state'], $rendered['signature'], true);

                return array_replace($rendered, ['signature' => Locks::signature($component, $rendered['state'], $signature, null)]);
            }
        };
    }

    /** The package's manager, whose lazy components get their parameters signed. */
    public static function signingManager(object $manager, Application $app): object
    {
        $method = $manager::class === DiffyneManager::class ? new ReflectionMethod($manager, 'mountLazy') : null;
        if ($method?->getNumberOfParameters() !== 3) {
            return $manager;
        }
        $signing = new class ($app) extends DiffyneManager {
            protected function mountLazy(string $componentClass, array $params, Lazy $lazyAttr): string
            {
                return parent::mountLazy($componentClass, Locks::signedParams($componentClass, $params), $lazyAttr);
            }
        };
        foreach ($manager->getComponents() as $alias => $class) {
            $signing->component($alias, $class);
        }

        return $signing;
    }

    /** Cuts our part off the signature for the package's own endpoint, which would refuse it. */
    public static function cutSignature(RouteMatched $matched): void
    {
        $isCall = $matched->request->attributes->has('diffyne.call');
        if ($isCall || ! str_starts_with(ltrim($matched->route->getActionName(), '\\'), 'Diffyne\\')) {
            return;
        }
        $signature = $matched->request->input('signature');
        if (is_string($signature) && str_contains($signature, '.')) {
            $matched->request->merge(['signature' => explode('.', $signature, 2)[0]]);
        }
    }
}
