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
    use Diffyne\Attributes\Invokable;
    use Diffyne\Attributes\Lazy;
    use Diffyne\Attributes\On;
    use Diffyne\Component;
    use Diffyne\Exceptions\RedirectException;
    use Diffyne\State\ComponentHydrator;
    use Diffyne\VirtualDOM\PatchSerializer;
    use Diffyne\VirtualDOM\Renderer;
    use Illuminate\Contracts\Debug\ExceptionHandler;
    use Illuminate\Contracts\Foundation\Application;
    use Illuminate\Foundation\Bootstrap\BootProviders;
    use Illuminate\Foundation\Http\Middleware\ConvertEmptyStringsToNull;
    use Illuminate\Foundation\Http\Middleware\TrimStrings;
    use Illuminate\Http\Request;
    use Illuminate\Http\Response;
    use Illuminate\Validation\ValidationException;
    use InvalidArgumentException;
    use ReflectionClass;
    use ReflectionMethod;
    use ReflectionProperty;
    use RuntimeException;
    use Throwable;
    use TypeError;

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
        public const VERSION = 1;

        /** A verb of our own: no route of the application, not even one for any verb, is in its way. */
        public const VERB = 'DIFFYNE';

        public const PATH = '_diffyne-bridge';

        private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;

        /** The answer of the call that has run: its head, and the client's JSON. */
        public ?array $answer = null;

        /** How the call that runs now has come. */
        public static string $transport = 'ajax';

        /** @var array<string, ?string> why a method is not callable, by class and name */
        private array $methods = [];

        /** @var array<string, array<string, true>> the properties of a class that a state may set */
        private array $properties = [];

        /** For an application's own service provider. */
        public static function install(Application $app): self
        {
            $bridge = new self();
            // Later than cached routes are read: they take the place of all others.
            $app->afterBootstrapping(BootProviders::class, static fn (Application $app) => $bridge->register($app));

            return $bridge;
        }

        /** Adds the route, in the middleware group of the package's own routes. The application has been booted. */
        public function register(Application $app): void
        {
            $ours = static fn (Request $request): bool => $request->getMethod() === self::VERB;
            foreach ([TrimStrings::class, ConvertEmptyStringsToNull::class] as $middleware) {
                if (method_exists($middleware, 'skipWhen')) {
                    $middleware::skipWhen($ours);
                }
            }
            $csrf = 'Illuminate\Foundation\Http\Middleware\PreventRequestForgery';
            $csrf = class_exists($csrf) ? $csrf : 'Illuminate\Foundation\Http\Middleware\VerifyCsrfToken';
            $app['router']->addRoute([self::VERB], self::PATH, fn (Request $request) => $this->handle($request))
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
            $session = $request->hasSession() ? $request->session() : null;
            $before = $session?->getId();
            // A driver that keeps nothing has none to lose.
            $keeps = ! in_array(config('session.driver'), ['array', 'null', null], true);
            $brought = $session !== null && $keeps && $request->cookies->has($session->getName());
            $known = $session !== null && $session->has('_flash');
            $this->answer = $this->run($call['head'], $call['payload']);
            if ($session !== null) {
                $changed = $session->getId() !== $before;
                $gone = $brought && ! $known && ! $changed;
                $this->answer['head']['session'] = $changed ? 'changed' : ($gone ? 'gone' : 'same');
            }

            if (! $overHttp) {
                return new Response('', 204);
            }
            $head = json_encode($this->answer['head'], self::JSON);

            return new Response($head."\n".$this->answer['body'], 200, ['Content-Type' => 'application/x-diffyne']);
        }

        /** What a worker shows that comes over HTTP: derived from the key that it has as well. */
        private static function secret(): string
        {
            $key = (string) (config('diffyne.security.signing_key') ?: config('app.key'));
            $key = str_starts_with($key, 'base64:') ? base64_decode(substr($key, 7)) : $key;

            return hash_hmac('sha256', 'diffyne bridge 1', $key);
        }

        /** Runs one call; whatever happens in it, this returns its answer. */
        public function run(array $head, string $payload): array
        {
            self::$transport = $head['transport'] ?? 'ajax';
            try {
                $data = json_decode($payload, true, 512, JSON_THROW_ON_ERROR);

                return match ($head['kind']) {
                    'call', 'update' => $this->exchange($head['kind'], $data),
                    'mount' => $this->mount($data),
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

        private function exchange(string $kind, array $data): array
        {
            $class = $this->componentClass($data['componentClass'] ?? null);
            $state = is_array($data['state'] ?? null) ? $data['state'] : [];
            $known = array_intersect_key($state, $this->stateProperties($class));
            $component = app(ComponentHydrator::class)->hydrate($class, $known, (string) $data['componentId']);
            $this->renderer()->snapshotComponent($component);
            if (is_array($data['errors'] ?? null)) {
                $component->setErrorBag($data['errors']);
            }
            try {
                if ($kind === 'call') {
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

            return self::succeeded($response);
        }

        private function mount(array $data): array
        {
            $class = $this->componentClass($data['componentClass'] ?? null);
            if ((new ReflectionClass($class))->getAttributes(Lazy::class) === []) {
                throw new Refused('not_lazy', 'Invalid component class');
            }
            $params = array_merge((array) ($data['params'] ?? []), (array) ($data['queryParams'] ?? []));
            $component = app(ComponentHydrator::class)->mount($class, $params);
            $component->id = (string) $data['componentId'];
            $rendered = $this->renderer()->renderInitial($component);
            $listeners = $rendered['eventListeners'] ?? [];

            return self::answer(['outcome' => 'ok', 'listeners' => json_encode((object) $listeners, self::JSON)], [
                'success' => true,
                'id' => $rendered['id'],
                'html' => $rendered['html'],
                'state' => $rendered['state'],
                'fingerprint' => $rendered['fingerprint'],
                'signature' => $rendered['signature'],
                'eventListeners' => (object) $listeners,
            ]);
        }

        private function componentClass(mixed $class): string
        {
            if (! is_string($class) || ! class_exists($class)) {
                throw new Refused('unknown_component', 'Component class not found', (string) (is_string($class) ? $class : ''));
            }
            if (! is_subclass_of($class, Component::class) || (new ReflectionClass($class))->isAbstract()) {
                throw new Refused('unknown_component', 'Component class not found', $class);
            }

            return $class;
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
            $key = $class.'::'.$method;
            if (! array_key_exists($key, $this->methods)) {
                $this->methods[$key] = self::whyNot($component, $method);
            }
            if ($this->methods[$key] !== null) {
                $unknown = $this->methods[$key] === '';
                throw new Refused($unknown ? 'unknown_method' : 'method', $this->methods[$key], $method);
            }
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

        private static function whyNot(Component $component, string $method): ?string
        {
            if (! method_exists($component, $method)) {
                return '';
            }
            $reflection = new ReflectionMethod($component, $method);
            $marked = $reflection->getAttributes(Invokable::class) !== [] || $reflection->getAttributes(On::class) !== [];
            if ($marked && $reflection->isPublic() && ! $reflection->isStatic()) {
                return null;
            }

            return "Method [{$method}] is not invokable. Add #[Invokable] attribute to allow client invocation.";
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
                throw new Refused('unknown_property', '', $property);
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

    /** What the documentation promises components: whether this call came over the WebSocket. */
    trait InteractsWithWebSocket
    {
        public function isWebSocketConnected(): bool
        {
            return Bridge::$transport === 'ws';
        }
    }
}
