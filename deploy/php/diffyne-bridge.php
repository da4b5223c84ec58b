<?php

/*
 * The bridge: runs the calls of Diffyne Cluster's workers inside a Laravel application.
 *
 * The php backend hands this file to its processes by itself. For php-fpm or another server, load it from a service
 * provider's register() method:
 *
 *     require_once base_path('diffyne-bridge.php');
 *     Diffyne\Cluster\Bridge::install($this->app);
 *
 * PHP 8.2 or newer, Laravel 10 to 13, no Composer package. Part of Diffyne Cluster, MIT licensed.
 */

namespace Diffyne\Cluster {

    use Closure;
    use Composer\Autoload\ClassLoader;
    use Diffyne\Attributes\Computed;
    use Diffyne\Attributes\Invokable;
    use Diffyne\Attributes\Lazy;
    use Diffyne\Attributes\Locked;
    use Diffyne\Attributes\On;
    use Diffyne\Component;
    use Diffyne\Exceptions\RedirectException;
    use Diffyne\State\ComponentHydrator;
    use Diffyne\VirtualDOM\PatchSerializer;
    use Diffyne\VirtualDOM\Renderer;
    use FilesystemIterator;
    use Illuminate\Contracts\Debug\ExceptionHandler;
    use Illuminate\Contracts\Foundation\Application;
    use Illuminate\Foundation\Bootstrap\BootProviders;
    use Illuminate\Foundation\Http\Events\RequestHandled;
    use Illuminate\Foundation\Http\Middleware\ConvertEmptyStringsToNull;
    use Illuminate\Foundation\Http\Middleware\TrimStrings;
    use Illuminate\Http\Request;
    use Illuminate\Http\Response;
    use Illuminate\Routing\Events\RouteMatched;
    use Illuminate\Routing\Route;
    use Illuminate\Validation\ValidationException;
    use InvalidArgumentException;
    use RecursiveDirectoryIterator;
    use RecursiveIteratorIterator;
    use ReflectionClass;
    use ReflectionMethod;
    use ReflectionProperty;
    use RuntimeException;
    use Throwable;
    use TypeError;

    // A pool has it already when an application that is also served otherwise loads it.
    if (! class_exists(Bridge::class, false)) {
        /** A call that cannot be run, in words for the client. */
        final class Refused extends RuntimeException
        {
            public function __construct(public readonly string $outcome, string $message, public readonly string $name = '')
            {
                parent::__construct($message);
            }
        }

        /** Runs calls with the package's own public classes. */
        final class Bridge
        {
            public const VERSION = 2;

            /** A verb of our own: no route of the application, not even one for any verb, is in its way. */
            public const VERB = 'DIFFYNE';

            public const PATH = '_diffyne-bridge';

            /** What the documentation has applications read: cache()->get('diffyne:websocket:status'). */
            public const STATUS_KEY = 'diffyne:websocket:status';

            /** Characters of a name that PHP is asked for. */
            private const NAME_LENGTH = 255;

            private const CLASS_NAME = '/^\\\\?[a-z_\x80-\xff][\w\x80-\xff]*(?:\\\\[a-z_\x80-\xff][\w\x80-\xff]*)*$/iD';

            private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;

            /** The answer of the call that has run: its head, and the client's JSON. */
            public ?array $answer = null;

            /** How the call that runs now has come. */
            public static string $transport = 'ajax';

            /** @var array{component?: string, method?: string} what the call that runs now has found, in the application's own spelling */
            public array $names = [];

            /** @var array<string, true> classes that are components, by their own names only: strangers could write each in many ways */
            private array $classes = [];

            /** @var array<string, true> methods that are callable, by class and their own names */
            private array $methods = [];

            /** @var array<string, array<string, true>> the properties of a class that a state may set */
            private array $properties = [];

            /** For an application's own service provider. */
            public static function install(Application $app): self
            {
                $bridge = new self();
                // Read while the environment is there: `config:cache` keeps it.
                $app['config']->set('diffyne.cluster', array_replace([
                    'broadcast_events' => env('DIFFYNE_BROADCAST_EVENTS', 'message-sent'),
                    'broadcast_depth' => env('DIFFYNE_BROADCAST_DEPTH', 2),
                    'publish_url' => env('DIFFYNE_PUBLISH_URL'),
                    'admin_token' => env('DIFFYNE_ADMIN_TOKEN'),
                    'health_url' => env('DIFFYNE_HEALTH_URL'),
                    'locked' => env('DIFFYNE_LOCKED', 'signed'),
                ], (array) $app['config']->get('diffyne.cluster', [])));
                // Pages get the second signature from the start, which the package's own endpoint does not know.
                $app->extend(Renderer::class, static fn (Renderer $renderer) => Locks::signing($renderer));
                $app['events']->listen(RouteMatched::class, static fn (RouteMatched $matched) => Locks::forPackage($matched));
                // Later than cached routes are read: they take the place of all others.
                $app->afterBootstrapping(BootProviders::class, static function (Application $app) use ($bridge): void {
                    // A command may be about to keep the application's routes: ours would be among them twice.
                    if ($app->runningInConsole()) {
                        return;
                    }
                    $bridge->register($app);
                    $app['events']->listen(RequestHandled::class, static fn (RequestHandled $handled) => Publisher::handled($handled));
                });

                return $bridge;
            }

            /** Adds the route, in the middleware group of the package's own routes. The application has been booted. */
            public function register(Application $app): Route
            {
                $ours = static fn (Request $request): bool => $request->getMethod() === self::VERB;
                foreach ([TrimStrings::class, ConvertEmptyStringsToNull::class] as $middleware) {
                    if (method_exists($middleware, 'skipWhen')) {
                        $middleware::skipWhen($ours);
                    }
                }
                $app->bound('diffyne.websocket.health') || $app->singleton('diffyne.websocket.health', WebSocketHealthChecker::class);
                $csrf = 'Illuminate\Foundation\Http\Middleware\PreventRequestForgery';
                $csrf = class_exists($csrf) ? $csrf : 'Illuminate\Foundation\Http\Middleware\VerifyCsrfToken';

                return $app['router']->addRoute([self::VERB], self::PATH, fn (Request $request) => $this->handle($request))
                    ->middleware($app['config']->get('diffyne.middleware', ['web']))
                    ->withoutMiddleware([$csrf]);
            }

            /** The route: a call of a pool comes as an attribute, which no middleware touches and no header forges. */
            private function handle(Request $request): Response
            {
                $call = $request->attributes->get('diffyne.call');
                $overHttp = ! is_array($call);
                if ($overHttp) {
                    if (! hash_equals(self::secret(), (string) $request->header('X-Diffyne-Bridge'))) {
                        return new Response('', 404);
                    }
                    [$head, $payload] = explode("\n", $request->getContent(), 2) + ['', ''];
                    $call = ['head' => json_decode($head, true) ?? [], 'payload' => $payload];
                    if (($call['head']['kind'] ?? '') === 'hello') {
                        return new Response((string) self::VERSION);
                    }
                }
                if ($overHttp) {
                    self::showBrowser($request, $call['head']);
                }
                $levels = ob_get_level();
                $session = $request->hasSession() ? $request->session() : null;
                $before = $session?->getId();
                // A driver that keeps nothing has none to lose.
                $keeps = ! in_array(config('session.driver'), ['array', 'null', null], true);
                $brought = $session !== null && $keeps && $request->cookies->has($session->getName());
                $known = $session !== null && $session->has('_flash');
                // What a call prints would stand before the answer. A pool keeps it away by itself.
                $overHttp && ob_start();
                $this->answer = $this->run($call['head'], $call['payload']);
                if ($overHttp) {
                    $printed = '';
                    while (ob_get_level() > $levels) {
                        $printed = ob_get_clean().$printed;
                    }
                    $printed === '' || error_log(strlen($printed).' bytes of output in a Diffyne call went nowhere: '.substr($printed, 0, 300));
                }
                if ($session !== null) {
                    $changed = $session->getId() !== $before;
                    $gone = $brought && ! $known && ! $changed;
                    // Ended by another request while this one ran: what was read then is not written again. A pool's
                    // sessions look by themselves.
                    if (
                        $known && $keeps && ! $changed && ! property_exists($session, 'ended')
                        && in_array($session->getHandler()->read($before), ['', false, null], true)
                    ) {
                        $session->flush();
                        $gone = true;
                    }
                    $this->answer['head']['session'] = $changed ? 'changed' : ($gone ? 'gone' : 'same');
                }

                if (! $overHttp) {
                    return new Response('', 204);
                }
                $head = json_encode($this->answer['head'] + ['length' => strlen($this->answer['body'])], self::JSON);

                return new Response($head."\n".$this->answer['body'], 200, ['Content-Type' => 'application/x-diffyne']);
            }

            /** The secret was right: the address, scheme and host that the worker tells are the browser's, whatever proxies say. */
            private static function showBrowser(Request $request, array $head): void
            {
                foreach (array_keys($request->headers->all()) as $name) {
                    if ($name === 'forwarded' || $name === 'x-real-ip' || str_starts_with($name, 'x-forwarded-')) {
                        $request->headers->remove($name);
                        $request->server->remove('HTTP_'.strtoupper(strtr($name, '-', '_')));
                    }
                }
                is_string($head['ip'] ?? null) && $request->server->set('REMOTE_ADDR', $head['ip']);
                $secure = ($head['scheme'] ?? '') === 'https';
                $request->server->set('HTTPS', $secure ? 'on' : 'off');
                if (is_string($head['host'] ?? null)) {
                    $request->headers->set('Host', $head['host']);
                    $port = preg_match('/:(\d+)$/', $head['host'], $found) === 1 ? (int) $found[1] : ($secure ? 443 : 80);
                    $request->server->add(['HTTP_HOST' => $head['host'], 'SERVER_PORT' => $port]);
                }
                // It may have kept what it was told before.
                app('url')->setRequest($request);
            }

            /** What a worker shows that comes over HTTP: derived from the key that it has as well. */
            public static function secret(): string
            {
                return hash_hmac('sha256', 'diffyne bridge 1', self::key());
            }

            /** The key that states are signed with. */
            public static function key(): string
            {
                $key = (string) (config('diffyne.security.signing_key') ?: config('app.key'));

                return str_starts_with($key, 'base64:') ? base64_decode(substr($key, 7)) : $key;
            }

            /** Runs one call; whatever happens in it, this returns its answer. */
            public function run(array $head, string $payload): array
            {
                $this->names = [];
                $answer = $this->attempt($head, $payload);
                $answer['head'] += $this->names;

                return $answer;
            }

            private function attempt(array $head, string $payload): array
            {
                self::$transport = $head['transport'] ?? 'ajax';
                try {
                    $data = json_decode($payload, true, 512, JSON_THROW_ON_ERROR);

                    return match ($head['kind']) {
                        'call', 'update' => $this->exchange($head, $data),
                        'mount' => $this->mount($head, $data),
                        'grant' => $this->grant($data),
                        default => throw new Refused('invalid', 'This worker does not do that.'),
                    };
                } catch (Refused $refused) {
                    return self::failed($refused->outcome, $refused->getMessage(), ['name' => $refused->name]);
                } catch (ValidationException $invalid) {
                    return self::failed('validation', 'Validation failed', ['errors' => $invalid->errors()]);
                } catch (Throwable $error) {
                    return $this->broken($error);
                } finally {
                    $this->renderer()->clearAllSnapshots();
                }
            }

            private function exchange(array $head, array $data): array
            {
                $class = $this->componentClass($data['componentClass'] ?? null);
                $state = is_array($data['state'] ?? null) ? $data['state'] : [];
                $trust = $head['trust'] ?? 'upstream';
                // What the edited fields of the state were when it was sent.
                $base = (is_array($data['base'] ?? null) ? $data['base'] : []) + $state;
                $known = Locks::believed($class, array_intersect_key($state, $this->stateProperties($class)), $base, $trust);
                $component = app(ComponentHydrator::class)->hydrate($class, $known, (string) $data['componentId']);
                $this->renderer()->snapshotComponent($component);
                if (is_array($data['errors'] ?? null)) {
                    $component->setErrorBag($data['errors']);
                }
                try {
                    if ($head['kind'] === 'call') {
                        $this->call($component, (string) $data['method'], $data['params'] ?? []);
                    } else {
                        $this->update($component, (string) $data['property'], $data['value'] ?? null, $state);
                    }
                } catch (RedirectException $redirect) {
                    return self::succeeded(['s' => true, 'redirect' => $redirect->getRedirectData()['redirect']]);
                }
                $minify = config('diffyne.performance.minify_patches', true);
                $response = app(PatchSerializer::class)->toResponse($this->renderer()->renderUpdate($component), $minify);
                // Patches that were filtered print as an object, which diffyne.js cannot read.
                ksort($response['c']['p']);
                $response['c']['p'] = array_values($response['c']['p']);
                $response['c']['sig'] = Locks::signature($component, $response['c']['st'], $response['c']['sig'], $trust);

                return self::succeeded($response);
            }

            private function mount(array $head, array $data): array
            {
                $class = $this->componentClass($data['componentClass'] ?? null);
                if ((new ReflectionClass($class))->getAttributes(Lazy::class) === []) {
                    throw new Refused('not_lazy', 'Invalid component class');
                }
                $params = array_merge((array) ($data['params'] ?? []), (array) ($data['queryParams'] ?? []));
                $choosable = array_diff_key(array_intersect_key($params, $this->stateProperties($class)), Locks::of($class)['protected']);
                $component = app(ComponentHydrator::class)->mount($class, $choosable);
                $component->id = (string) $data['componentId'];
                $rendered = $this->renderer()->renderInitial($component);
                $trust = $head['trust'] ?? 'upstream';
                $listeners = $rendered['eventListeners'] ?? [];

                return self::answer(['outcome' => 'ok', 'listeners' => json_encode((object) $listeners, self::JSON)], [
                    'success' => true,
                    'id' => $rendered['id'],
                    'html' => $rendered['html'],
                    'state' => $rendered['state'],
                    'fingerprint' => $rendered['fingerprint'],
                    'signature' => Locks::signature($component, $rendered['state'], $rendered['signature'], $trust),
                    'eventListeners' => (object) $listeners,
                ]);
            }

            /** Whether this user may hear events: which ones, in their order. The class has to listen, and may have a say. */
            private function grant(array $data): array
            {
                $granted = $listeners = [];
                foreach ($data['events'] ?? [] as $event) {
                    $class = $this->componentClass($event['componentClass'] ?? null);
                    $component = app($class);
                    $name = (string) ($event['name'] ?? '');
                    $listens = array_key_exists($name, $component->getEventListeners());
                    $match = is_array($event['match'] ?? null) ? $event['match'] : [];
                    $granted[] = $listens && (! method_exists($component, 'mayHear') || $component->mayHear($name, $match) === true);
                    $listeners += $component->getEventListeners();
                }

                return self::answer(['outcome' => 'ok', 'listeners' => json_encode((object) $listeners, self::JSON)], ['granted' => $granted]);
            }

            /** The class's own name, however it was written. */
            private function componentClass(mixed $class): string
            {
                if (! is_string($class) || strlen($class) > self::NAME_LENGTH || preg_match(self::CLASS_NAME, $class) !== 1) {
                    throw new Refused('unknown_component', 'Component class not found', is_string($class) ? mb_strcut($class, 0, self::NAME_LENGTH) : '');
                }
                $name = isset($this->classes[$class]) ? $class : self::findClass($class);
                $this->classes[$name] = true;
                $this->names = ['component' => $name];

                return $name;
            }

            private static function findClass(string $class): string
            {
                // Laravel writes a file for each class of this namespace that somebody asks for.
                $found = stripos(ltrim($class, '\\'), 'Facades\\') !== 0 && class_exists($class);
                $found || self::forget(ltrim($class, '\\'));
                $reflection = $found ? new ReflectionClass($class) : null;
                if (! $reflection?->isSubclassOf(Component::class) || $reflection->isAbstract()) {
                    throw new Refused('unknown_component', 'Component class not found', $class);
                }

                return $reflection->getName();
            }

            /** Composer remembers each class that it has not found. */
            private static function forget(string $class): void
            {
                foreach (spl_autoload_functions() as $loader) {
                    if (is_array($loader) && $loader[0] instanceof ClassLoader && property_exists($loader[0], 'missingClasses')) {
                        Closure::bind(function () use ($class): void {
                            unset($this->missingClasses[$class]);
                        }, $loader[0], ClassLoader::class)();
                    }
                }
            }

            /** @return array<string, true> public properties of the component's own: what a state can consist of */
            private function stateProperties(string $class): array
            {
                return $this->properties[$class] ??= (static function () use ($class): array {
                    $names = [];
                    foreach ((new ReflectionClass($class))->getProperties(ReflectionProperty::IS_PUBLIC) as $property) {
                        if (! $property->isStatic() && $property->getDeclaringClass()->getName() !== Component::class) {
                            $names[$property->getName()] = true;
                        }
                    }

                    return $names;
                })();
            }

            private function call(Component $component, string $method, mixed $params): void
            {
                $class = $component::class;
                $method = $this->callable($component, $method);
                if (! is_array($params)) {
                    throw new Refused('invalid', 'params must be an array');
                }
                try {
                    // Positional in any case: an object's keys would become named arguments.
                    $component->{$method}(...array_values($params));
                } catch (TypeError $error) {
                    throw self::isOf($error, $class, $method) ? self::wrongParameter($component, $method, $params, $error) : $error;
                }
            }

            /** The method's own name, however it was written, if clients may call it. */
            private function callable(Component $component, string $method): string
            {
                $class = $component::class;
                if (isset($this->methods["$class::$method"])) {
                    $this->names['method'] = $method;

                    return $method;
                }
                if (strlen($method) > self::NAME_LENGTH || ! method_exists($component, $method)) {
                    throw new Refused('unknown_method', '', mb_strcut($method, 0, self::NAME_LENGTH));
                }
                $reflection = new ReflectionMethod($component, $method);
                $this->names['method'] = $name = $reflection->getName();
                $marked = $reflection->getAttributes(Invokable::class) !== [] || $reflection->getAttributes(On::class) !== [];
                if (! $marked || ! $reflection->isPublic() || $reflection->isStatic()) {
                    throw new Refused('method', "Method [{$name}] is not invokable. Add #[Invokable] attribute to allow client invocation.", $name);
                }
                $this->methods["$class::$name"] = true;

                return $name;
            }

            /** Whether a type error is about the parameters of this method, and not of something that it calls. */
            private static function isOf(TypeError $error, string $class, string $method): bool
            {
                $frame = $error->getTrace()[0] ?? [];
                $declared = (new ReflectionMethod($class, $method))->getDeclaringClass()->getName();

                return ($frame['function'] ?? '') === $method && ($frame['class'] ?? '') === $declared
                    && ($frame['file'] ?? '') === __FILE__;
            }

            private static function wrongParameter(Component $component, string $method, array $params, TypeError $error): Refused
            {
                $parameters = (new ReflectionMethod($component, $method))->getParameters();
                if (preg_match('/Argument #(\d+) \(\$(\w+)\) (must be of type .+ given)/', $error->getMessage(), $found) === 1) {
                    return new Refused('method', "Parameter [{$found[2]}] of method [{$method}] {$found[3]}.");
                }
                $name = ($parameters[count($params)] ?? null)?->getName() ?? '?';

                return new Refused('method', "Parameter [{$name}] of method [{$method}] is missing.");
            }

            private function update(Component $component, string $property, mixed $value, array $state): void
            {
                if (! array_key_exists($property, $state) || ! isset($this->stateProperties($component::class)[$property])) {
                    throw new Refused('unknown_property', '', mb_strcut($property, 0, self::NAME_LENGTH));
                }
                try {
                    $component->updateProperty($property, $value);
                } catch (InvalidArgumentException $error) {
                    // The package's own check, or something that a hook of the component has thrown?
                    throw ($error->getTrace()[0]['function'] ?? '') === 'updateProperty'
                        ? new Refused('property', $error->getMessage(), $property)
                        : $error;
                } catch (TypeError $error) {
                    $pattern = '/^Cannot assign (.+) to property .+::\$(\w+) of type (.+)$/';
                    if (preg_match($pattern, $error->getMessage(), $found) !== 1 || $found[2] !== $property) {
                        throw $error;
                    }
                    throw new Refused('property', "Property [{$property}] must be of type {$found[3]}, {$found[1]} given.");
                }
            }

            private function renderer(): Renderer
            {
                return app(Renderer::class);
            }

            private static function succeeded(array $response): array
            {
                $events = [];
                foreach ($response['events'] ?? [] as $index => $event) {
                    if ($event['to'] === null) {
                        $params = json_encode(array_values($event['params']), self::JSON);
                        $events[] = ['index' => $index, 'name' => $event['name'], 'params' => $params];
                    }
                }
                $count = count($response['events'] ?? []);

                return self::answer(['outcome' => 'ok', 'events' => $events, 'event_count' => $count], $response);
            }

            private static function failed(string $outcome, string $error, array $more = []): array
            {
                return self::answer(['outcome' => $outcome, 'error' => $error] + $more, null);
            }

            private static function answer(array $head, ?array $response): array
            {
                $head['memory'] = memory_get_usage(true);

                return ['head' => $head, 'body' => $response === null ? '' : json_encode($response, self::JSON)];
            }

            /** An error of the application's own: reported there, told to clients in debug mode only. */
            private function broken(Throwable $error): array
            {
                try {
                    app(ExceptionHandler::class)->report($error);
                } catch (Throwable) {
                    // A handler that fails must not hide what it was to handle.
                }

                return self::failed('exception', $error->getMessage(), [
                    'exception' => $error::class,
                    'file' => str_replace(base_path().'/', '', $error->getFile()),
                    'line' => $error->getLine(),
                ]);
            }
        }

        /** Values of properties that clients see and must not change: whose are believed, and what signs them. */
        final class Locks
        {
            /** As in the worker, which verifies what is signed here. */
            private const LABEL = 'diffyne locked values 1';

            private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;

            /** Files of components that are looked at. */
            private const FILES_MAX = 2000;

            /** @var array<string, array{visible: array<string, true>, locked: array<string, true>, protected: array<string, true>}> */
            private static array $classes = [];

            /** @var array<string, bool> */
            private static array $alone = [];

            /**
             * What a class shows of itself: all names, those that clients must not change, and with these the hidden ones.
             *
             * @return array{visible: array<string, true>, locked: array<string, true>, protected: array<string, true>}
             */
            public static function of(string $class): array
            {
                return self::$classes[$class] ??= (static function () use ($class): array {
                    // Its constructor has read the attributes, and may have added names of its own.
                    $lists = Closure::bind(fn () => [$this->hidden ?? [], $this->locked ?? [], $this->computed ?? []], new $class(), Component::class);

                    return self::describe($class, ...$lists());
                })();
            }

            private static function describe(string $class, array $hidden, array $locked, array $computed): array
            {
                $hidden = array_fill_keys($hidden, true);
                $locked = array_fill_keys([...$locked, ...$computed], true);
                $names = [];
                foreach ((new ReflectionClass($class))->getProperties(ReflectionProperty::IS_PUBLIC) as $property) {
                    $name = $property->getName();
                    if ($property->isStatic() || $property->getDeclaringClass()->getName() === Component::class) {
                        continue;
                    }
                    $names[$name] = true;
                    // A computed property of this kind is no part of the state.
                    $property->getAttributes(Computed::class) === [] || $hidden[$name] = true;
                    $property->getAttributes(Locked::class) === [] || $locked[$name] = true;
                }
                $visible = array_diff_key($names, $hidden);

                return ['visible' => $visible, 'locked' => array_intersect_key($locked, $visible), 'protected' => $hidden + $locked];
            }

            /**
             * The state that a call starts from, its locked values among it only where a signature covers them.
             *
             * @param array<string, mixed> $state what the client says
             * @param array<string, mixed> $base  what it says that the server has sent
             * @param mixed                $trust what the worker has verified: `base`, or names of the state, or the rules of upstream
             */
            public static function believed(string $class, array $state, array $base, mixed $trust): array
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
                if ($trust === 'base' && $isWhole && self::isAlone($class)) {
                    return array_intersect_key($base, $locked) + $state;
                }
                // A form does not fill in what is locked.
                $filled = static fn (mixed $value): bool => is_scalar($value) && ! is_float($value) && (bool) $value;
                if ($trust === 'upstream form' && array_filter(array_intersect_key($state, $locked), $filled) === []) {
                    return $state;
                }
                throw new Refused('unsigned', '');
            }

            /** The signature of a state: the package's own, and ours over class, component and locked values behind it. */
            public static function signature(Component $component, array $state, string $signature, mixed $trust): string
            {
                $signature = explode('.', $signature, 2)[0];
                $values = array_intersect_key($state, self::of($component::class)['locked']);
                if ($values === [] || in_array($trust, ['upstream', 'upstream form'], true)) {
                    return $signature;
                }
                $names = rtrim(strtr(base64_encode(json_encode(array_keys($values), self::JSON)), '+/', '-_'), '=');

                return $signature.'.'.self::lock($component::class, $component->id, $values).'.'.$names;
            }

            public static function lock(string $class, string $id, array $values): string
            {
                $document = ['class' => strtolower(ltrim($class, '\\')), 'id' => $id, 'values' => $values];
                // As it comes back: objects are what they print.
                $document = self::sorted(json_decode(json_encode($document, self::JSON), true, 512, JSON_THROW_ON_ERROR));
                $printed = json_encode($document, self::JSON | JSON_FORCE_OBJECT);

                return hash_hmac('sha256', $printed, hash_hmac('sha256', self::LABEL, Bridge::key(), true));
            }

            /** Keys in the order of their bytes at every level, whatever order a browser gives them. */
            private static function sorted(array $values): array
            {
                ksort($values, SORT_STRING);

                return array_map(static fn (mixed $value) => is_array($value) ? self::sorted($value) : $value, $values);
            }

            /**
             * Whether no other component has a state of the same names: then the package's signature, which names no
             * class, speaks of this one.
             */
            private static function isAlone(string $class): bool
            {
                return self::$alone[$class] ??= (static function () use ($class): bool {
                    $own = self::of($class)['visible'];
                    foreach ([...get_declared_classes(), ...self::inFiles($class)] as $other) {
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

            /** @return list<string> the classes in the folder of components */
            private static function inFiles(string $class): array
            {
                $namespace = trim((string) config('diffyne.component_namespace', 'App\\Diffyne'), '\\').'\\';
                $class = (new ReflectionClass($class))->getName();
                $ending = strtr(substr($class, strlen($namespace)), '\\', '/').'.php';
                $file = (string) (new ReflectionClass($class))->getFileName();
                // Where this class lies, and else where applications have them.
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
                        // It is no class that anybody can use.
                    }
                }

                return $classes;
            }

            /** The package's renderer, for pages that get our signature with their first state. */
            public static function signing(Renderer $renderer): Renderer
            {
                if ($renderer::class !== Renderer::class || config('diffyne.cluster.locked') === 'upstream') {
                    return $renderer;
                }

                return new class () extends Renderer {
                    public function renderInitial(Component $component): array
                    {
                        return self::signed($component, parent::renderInitial($component));
                    }

                    public function renderUpdate(Component $component): array
                    {
                        return self::signed($component, parent::renderUpdate($component));
                    }

                    private static function signed(Component $component, array $rendered): array
                    {
                        return array_replace($rendered, ['signature' => Locks::signature($component, $rendered['state'], $rendered['signature'], null)]);
                    }
                };
            }

            /** The package's own endpoint compares the whole signature with its own: it gets that part alone. */
            public static function forPackage(RouteMatched $matched): void
            {
                $signature = $matched->request->input('signature');
                if (is_string($signature) && str_contains($signature, '.') && str_starts_with(ltrim($matched->route->getActionName(), '\\'), 'Diffyne\\')) {
                    $matched->request->merge(['signature' => explode('.', $signature, 2)[0]]);
                }
            }
        }

        /** What the documentation promises components: whether this call came over the WebSocket. */
        trait InteractsWithWebSocket
        {
            public function isWebSocketConnected(): bool
            {
                return Bridge::$transport === 'ws';
            }
        }

        /** What the documentation promises applications, as app('diffyne.websocket.health') too. */
        final class WebSocketHealthChecker
        {
            private const TIMEOUT_SECONDS = 2;

            public function isHealthy(): bool
            {
                return $this->status()['status'] === 'connected';
            }

            /**
             * What the cache says, and what a gateway says of itself where DIFFYNE_HEALTH_URL names one.
             *
             * @return array{status: string, gateway: ?array}
             */
            public function status(): array
            {
                $url = config('diffyne.cluster.health_url');
                $gateway = null;
                if (is_string($url) && $url !== '') {
                    $context = stream_context_create(['http' => ['timeout' => self::TIMEOUT_SECONDS, 'ignore_errors' => true]]);
                    $gateway = json_decode((string) @file_get_contents($url, false, $context), true);
                }
                $cached = cache()->get(Bridge::STATUS_KEY);
                $status = $cached ?? (is_array($gateway) && ($gateway['workers'] ?? 0) > 0 ? 'connected' : 'disconnected');

                return ['status' => (string) $status, 'gateway' => is_array($gateway) ? $gateway : null];
            }
        }

        /** Takes the events of AJAX calls to the cluster that did not come through one of its workers. */
        final class Publisher
        {
            private const TIMEOUT_SECONDS = 2;

            /** An answer is ready: what it dispatched to everybody is published when it has gone out. */
            public static function handled(RequestHandled $handled): void
            {
                [$request, $response] = [$handled->request, $handled->response];
                $route = $request->route();
                if (! $route instanceof Route || ! str_starts_with(ltrim($route->getActionName(), '\\'), 'Diffyne\\') || ! $request->isMethod('POST')) {
                    return;
                }
                $bySecret = (string) $request->header('X-Diffyne-Bridge');
                // As objects: an empty one stays one.
                $events = json_decode((string) $response->getContent())->events ?? null;
                // A worker that has sent the call publishes its events itself.
                if (! is_array($events) || ($bySecret !== '' && hash_equals(Bridge::secret(), $bySecret))) {
                    return;
                }
                $depth = is_array($request->input('cause')) ? (int) ($request->input('cause')['depth'] ?? 0) + 1 : 0;
                $items = self::items($events, (string) $request->header('X-Diffyne-Client-Id'), $depth);
                if ($items !== []) {
                    app()->terminating(static fn () => self::publish($items));
                }
            }

            /** @return list<string> */
            private static function items(array $events, string $client, int $depth): array
            {
                $wanted = array_map('trim', explode(',', (string) config('diffyne.cluster.broadcast_events')));
                if ($depth > (int) config('diffyne.cluster.broadcast_depth')) {
                    return [];
                }
                $items = [];
                foreach ($events as $event) {
                    $name = $event->name ?? null;
                    if (is_string($name) && ($event->to ?? null) === null && array_intersect([$name, '*'], $wanted) !== []) {
                        $item = ['name' => $name, 'params' => array_values((array) ($event->params ?? [])), 'depth' => $depth];
                        $items[] = json_encode($client === '' ? $item : $item + ['except' => $client], JSON_THROW_ON_ERROR);
                    }
                }

                return $items;
            }

            private static function publish(array $items): void
            {
                try {
                    $url = config('diffyne.cluster.publish_url');
                    foreach (is_string($url) && $url !== '' ? $items : [] as $item) {
                        $headers = ['Content-Type: application/json', 'Authorization: Bearer '.config('diffyne.cluster.admin_token')];
                        $http = ['method' => 'POST', 'header' => $headers, 'content' => $item, 'timeout' => self::TIMEOUT_SECONDS];
                        file_get_contents($url, false, stream_context_create(['http' => $http]));
                    }
                    if (! is_string($url) || $url === '') {
                        app('redis')->connection()->rpush('{diffyne}:ingress', ...$items);
                    }
                } catch (Throwable $error) {
                    app(ExceptionHandler::class)->report($error);
                }
            }
        }
    }
}
