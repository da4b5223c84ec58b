<?php

namespace Diffyne\Cluster;

use Closure;
use Composer\Autoload\ClassLoader;
use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\Lazy;
use Diffyne\Attributes\On;
use Diffyne\Component;
use Diffyne\State\ComponentHydrator;
use Diffyne\VirtualDOM\PatchSerializer;
use Diffyne\VirtualDOM\Renderer;
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
use ReflectionClass;
use ReflectionMethod;
use ReflectionProperty;
use RuntimeException;
use Symfony\Component\HttpFoundation\Response as SymfonyResponse;
use Throwable;
use TypeError;

/** Runs calls with the package's own public classes. */
final class Bridge
{
    public const VERSION = 2;

    /** A verb that no route of the application has, not even one for any verb. */
    public const VERB = 'DIFFYNE';

    public const PATH = '_diffyne-bridge';

    /** The documented cache key of the connection's status: cache()->get('diffyne:websocket:status'). */
    public const STATUS_KEY = 'diffyne:websocket:status';

    /** The longest class, method or property name. */
    private const NAME_LENGTH = 255;

    private const CLASS_NAME = '/^\\\\?[a-z_\x80-\xff][\w\x80-\xff]*(?:\\\\[a-z_\x80-\xff][\w\x80-\xff]*)*$/iD';

    /** The reply to the last call: its head, and the client's JSON. */
    public ?array $reply = null;

    /** What components see instead of the bridge's own route. */
    public readonly EndpointRequest $endpoint;

    /** Hears of the end of each request. */
    public readonly Closure $sessionRestorer;

    /** The transport of the current call. */
    public static string $transport = 'ajax';

    /** @var array{component?: string, method?: string} the current call's class and method in the application's own spelling */
    public array $names = [];

    /** Whether the method of the current call is marked as shared, and a worker makes its response. */
    public bool $isShared = false;

    /** @var array<string, true> classes that are components, by their own spelling only: clients could send many for each */
    private array $classes = [];

    /** @var array<string, true> callable methods, by class and their own spelling */
    private array $methods = [];

    /** @var array<string, array<string, true>> properties that a state may set, by class */
    private array $properties = [];

    public function __construct()
    {
        $this->endpoint = new EndpointRequest();
        $this->sessionRestorer = static fn () => CallSession::restore();
    }

    /** Installs the bridge, once. The package's service provider does it. */
    public static function install(Application $app): self
    {
        if ($app->bound(self::class)) {
            return $app->make(self::class);
        }
        $app->instance(self::class, $bridge = new self());
        // Read into the configuration, which `config:cache` keeps: the environment may not be there later.
        $app['config']->set('diffyne.cluster', array_replace([
            'broadcast_events' => env('DIFFYNE_BROADCAST_EVENTS', 'message-sent'),
            'broadcast_depth' => env('DIFFYNE_BROADCAST_DEPTH', 2),
            'publish_url' => env('DIFFYNE_PUBLISH_URL'),
            'admin_token' => env('DIFFYNE_ADMIN_TOKEN'),
            'health_url' => env('DIFFYNE_HEALTH_URL'),
            'webhook_secret' => env('DIFFYNE_WEBHOOK_SECRET'),
            'locked' => env('DIFFYNE_LOCKED', 'signed'),
        ], (array) $app['config']->get('diffyne.cluster', [])));
        // Pages get the second signature with their first state. The package's own endpoint does not accept it.
        $app->extend(Renderer::class, static fn (Renderer $renderer) => Locks::signingRenderer($renderer));
        self::signMountParams($app);
        $app['events']->listen(RouteMatched::class, static fn (RouteMatched $matched) => Locks::cutSignature($matched));
        $app['events']->listen(RouteMatched::class, static fn (RouteMatched $matched) => Channels::nameSocket($matched->request));
        // Cached routes replace all others, so this one is added after they were loaded.
        $app->afterBootstrapping(BootProviders::class, static function (Application $app) use ($bridge): void {
            // A command may be about to cache the application's routes, and would cache this one as well.
            if ($app->runningInConsole()) {
                return;
            }
            $bridge->register($app);
            $app['events']->listen(RequestHandled::class, static fn (RequestHandled $handled) => Publisher::handled($handled));
            $app['events']->listen(RequestHandled::class, static fn (RequestHandled $handled) => self::keepCookies($handled));
        });

        return $bridge;
    }

    /** Adds the route to a booted application, in the middleware group of the package's own routes. */
    public function register(Application $app): Route
    {
        $app['events']->listen(RequestHandled::class, $this->sessionRestorer);
        $ours = static fn (Request $request): bool => $request->getMethod() === self::VERB;
        foreach ([TrimStrings::class, ConvertEmptyStringsToNull::class] as $middleware) {
            if (method_exists($middleware, 'skipWhen')) {
                $middleware::skipWhen($ours);
            }
        }
        // Views that calls render may contain lazy components, too.
        self::signMountParams($app);
        $app->bound('diffyne.websocket.health') || $app->singleton('diffyne.websocket.health', WebSocketHealthChecker::class);
        $csrf = 'Illuminate\Foundation\Http\Middleware\PreventRequestForgery';
        $csrf = class_exists($csrf) ? $csrf : 'Illuminate\Foundation\Http\Middleware\VerifyCsrfToken';

        return $app['router']->addRoute([self::VERB], self::PATH, fn (Request $request) => $this->handle($request))
            ->middleware($app['config']->get('diffyne.middleware', ['web']))
            ->withoutMiddleware([$csrf]);
    }

    private static function signMountParams(Application $app): void
    {
        $app->extend('diffyne', static fn (object $manager, Application $app) => Locks::signingManager($manager, $app));
    }

    /** Handles the route. A pool's call is a request attribute, which no middleware changes and no header forges. */
    private function handle(Request $request): Response
    {
        $call = $request->attributes->get('diffyne.call');
        if (! is_array($call)) {
            return $this->handleHttp($request);
        }
        $request->attributes->set('diffyne.call', true);
        $this->endpoint->replace($request, $call['head']['kind'], $call['payload']);
        $this->reply = CallSession::run($request, $call['head'], fn (): array => $this->run($call['head'], $call['payload']));

        return new Response('', 204);
    }

    /** Handles a call that a worker sends over HTTP or FastCGI. */
    private function handleHttp(Request $request): Response
    {
        if (! hash_equals(self::secret(), (string) $request->header('X-Diffyne-Bridge'))) {
            return new Response('', 404);
        }
        [$head, $payload] = explode("\n", $request->getContent(), 2) + ['', ''];
        $head = json_decode($head, true) ?? [];
        if (($head['kind'] ?? '') === 'hello') {
            CallSession::leaveNone($request);

            return new Response((string) self::VERSION);
        }
        self::setBrowser($request, $head);
        $request->attributes->set('diffyne.call', true);
        $this->endpoint->replace($request, (string) ($head['kind'] ?? ''), $payload);
        // A call's output would precede the reply. A pool buffers it by itself.
        $levels = ob_get_level();
        ob_start();
        Parts::begin(($head['parts'] ?? false) === true ? Parts::lines() : null);
        $reply = CallSession::run($request, $head, fn (): array => $this->run($head, $payload));
        Parts::end();
        $printed = '';
        while (ob_get_level() > $levels) {
            $printed = ob_get_clean().$printed;
        }
        $printed === '' || error_log(strlen($printed).' bytes of output in a Diffyne call went nowhere: '.substr($printed, 0, 300));
        // An exception's message may be no UTF-8.
        $head = json_encode($reply['head'] + ['length' => strlen($reply['body'])], BridgeReply::JSON | JSON_INVALID_UTF8_SUBSTITUTE);

        return new Response($head."\n".$reply['body'], 200, ['Content-Type' => 'application/x-diffyne']);
    }

    /** Puts the cookies of a call that has sent parts into its reply: its headers have gone before. */
    private static function keepCookies(RequestHandled $handled): void
    {
        $response = $handled->response;
        if (! headers_sent() || $response->headers->get('Content-Type') !== 'application/x-diffyne') {
            return;
        }
        $cookies = array_map(strval(...), $response->headers->getCookies());
        [$head, $body] = explode("\n", (string) $response->getContent(), 2) + ['', ''];
        $head = json_decode($head, true);
        if ($cookies !== [] && is_array($head)) {
            $head['set_cookie'] = $cookies;
            $response->setContent(json_encode($head, BridgeReply::JSON | JSON_INVALID_UTF8_SUBSTITUTE)."\n".$body);
        }
    }

    /** Sets the browser's address, scheme and host, which a worker with the right secret knows better than proxies. */
    private static function setBrowser(Request $request, array $head): void
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
        // The URL generator may have cached the former host.
        app('url')->setRequest($request);
    }

    /** The secret of workers that call over HTTP, derived from the key that both have. */
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

    /** Runs one call and returns its reply, whatever happens in it. */
    public function run(array $head, string $payload): array
    {
        $this->names = [];
        $this->isShared = false;
        // A gateway publishes the events of components, and takes none of a listener, which publishes them itself.
        $head['kind'] === 'lifecycle' || Users::begin();
        $reply = $this->tryRun($head, $payload);
        $events = Users::end();
        if ($events !== [] && $reply['head']['outcome'] === 'ok') {
            $reply['head']['user_events'] = $events;
        }
        $reply['head'] += $this->names;

        return $reply;
    }

    private function tryRun(array $head, string $payload): array
    {
        self::$transport = $head['transport'] ?? 'ajax';
        try {
            $data = json_decode($payload, true, 512, JSON_THROW_ON_ERROR);
            $this->endpoint->fill($data);

            return match ($head['kind']) {
                'call', 'update' => $this->exchange($head, $data),
                'mount' => $this->mount($head, $data),
                'grant' => $this->grant($data),
                'lifecycle' => self::tellListener($data),
                default => throw new CallRejection('invalid', 'This worker does not do that.'),
            };
        } catch (CallRejection $rejection) {
            return BridgeReply::failure($rejection->outcome, $rejection->getMessage(), ['name' => $rejection->name]);
        } catch (ClientLeft) {
            return BridgeReply::failure('client_left', '');
        } catch (ValidationException $invalid) {
            return BridgeReply::failure('validation', 'Validation failed', ['errors' => $invalid->errors()]);
        } catch (Throwable $error) {
            $isExchange = in_array($head['kind'], ['call', 'update'], true);

            return ($isExchange ? BridgeReply::forEndpoint($error) : null) ?? BridgeReply::forException($error);
        } finally {
            $this->renderer()->clearAllSnapshots();
        }
    }

    private function exchange(array $head, array $data): array
    {
        $class = $this->componentClass($data['componentClass'] ?? null);
        $state = is_array($data['state'] ?? null) ? $data['state'] : [];
        $trust = $head['trust'] ?? 'upstream';
        // The state as it was sent: the original values of edited fields over the current ones.
        $base = (is_array($data['base'] ?? null) ? $data['base'] : []) + $state;
        $known = Locks::verifiedState($class, array_intersect_key($state, $this->stateProperties($class)), $base, $trust);
        $component = ComponentFactory::hydrate(Services::get(ComponentHydrator::class), $class, $known, (string) $data['componentId']);
        $views = new RenderState(Services::get('view'));
        $views->restore();
        $render = in_array($head['render'] ?? null, ['new', 'both'], true) ? ComponentHtml::renderer($this->renderer()) : null;
        $began = hrtime(true);
        $old = null;
        if ($render !== null && $head['render'] === 'both') {
            // Where the script writes fields by itself, the page shows the state as it was sent.
            $isEdited = ($data['base'] ?? []) !== [] && in_array('base', (array) ($data['accepts'] ?? []), true);
            $sent = $isEdited ? Locks::verifiedState($class, array_intersect_key($base, $this->stateProperties($class)), $base, $trust) : $known;
            $old = $render($isEdited ? ComponentFactory::hydrate(Services::get(ComponentHydrator::class), $class, $sent, (string) $data['componentId']) : $component);
        }
        $rendering = hrtime(true) - $began;
        $render !== null || $this->renderer()->snapshotComponent($component);
        if (is_array($data['errors'] ?? null)) {
            $component->setErrorBag($data['errors']);
        }
        if ($head['kind'] === 'call') {
            $this->call($component, (string) $data['method'], $data['params'] ?? []);
        } else {
            $this->update($component, (string) $data['property'], $data['value'] ?? null, $state);
        }
        $views->restore();
        if ($render !== null && $component->id === (string) $data['componentId']) {
            $began = hrtime(true);
            $html = $render($component);
            $rendering += hrtime(true) - $began;
            $reply = BridgeReply::view($component, $old, $html, ($data['exact'] ?? false) === true);
            $reply['head']['render_us'] = intdiv($rendering, 1000);
            $this->isShared = $head['kind'] === 'call' && Shared::marks($class, $this->names['method']);

            return $reply;
        }
        $minify = config('diffyne.performance.minify_patches', true);
        $response = app(PatchSerializer::class)->toResponse($this->renderer()->renderUpdate($component), $minify);
        // PHP encodes a filtered list as an object, which diffyne.js cannot read.
        ksort($response['c']['p']);
        $response['c']['p'] = array_values($response['c']['p']);
        $signature = PageState::signature($component, $response['c']['st'], $response['c']['sig'], ($data['exact'] ?? false) === true);
        $response['c']['sig'] = Locks::signature($component, $response['c']['st'], $signature, $trust);

        return PageState::encodable($component, $response['c']['st'], static fn () => BridgeReply::success($response));
    }

    private function mount(array $head, array $data): array
    {
        $class = $this->componentClass($data['componentClass'] ?? null);
        if ((new ReflectionClass($class))->getAttributes(Lazy::class) === []) {
            throw new CallRejection('not_lazy', 'Invalid component class');
        }
        $trust = $head['trust'] ?? [];
        $params = array_intersect_key((array) ($data['params'] ?? []), $this->stateProperties($class));
        $params = Locks::mountParams($class, $params, is_array($trust) ? $trust : []);
        $query = Locks::queryParams($class, (array) ($data['queryParams'] ?? []));
        $component = app(ComponentHydrator::class)->mount($class, array_replace($params, $query));
        $component->id = (string) $data['componentId'];
        (new RenderState(app('view')))->restore();
        $rendered = $this->renderer()->renderInitial($component);
        $signature = PageState::signature($component, $rendered['state'], $rendered['signature'], ($data['exact'] ?? false) === true);

        return PageState::encodable($component, $rendered['state'], static fn () => BridgeReply::make(['outcome' => 'ok'], [
            'success' => true,
            'id' => $rendered['id'],
            'html' => $rendered['html'],
            'state' => $rendered['state'],
            'fingerprint' => $rendered['fingerprint'],
            'signature' => Locks::signature($component, $rendered['state'], $signature, $trust),
            'eventListeners' => (object) ($rendered['eventListeners'] ?? []),
        ]));
    }

    /**
     * Decides for each event whether the user may hear it. routes/channels.php decides about those of channels. To any
     * other the class has to listen, and may have a policy.
     */
    private function grant(array $data): array
    {
        $granted = [];
        foreach ($data['events'] ?? [] as $event) {
            $name = (string) ($event['name'] ?? '');
            if (Channels::isEvent($name)) {
                $granted[] = Channels::mayHear($name, Services::get('request'));
                continue;
            }
            $class = $this->componentClass($event['componentClass'] ?? null);
            $granted[] = self::hears(app($class), $name, is_array($event['match'] ?? null) ? $event['match'] : []);
        }

        $here = array_map(fn (mixed $room) => $this->here((array) $room), $data['rooms'] ?? []);

        return BridgeReply::make(['outcome' => 'ok'], ['granted' => $granted] + ($here === [] ? [] : ['here' => $here]));
    }

    private static function hears(Component $component, string $name, array $match): bool
    {
        $listens = array_key_exists($name, $component->getEventListeners());

        return $listens && (! method_exists($component, 'mayHear') || $component->mayHear($name, $match) === true);
    }

    /**
     * Decides whether the user may enter a room, and what the others there may know of the user. routes/channels.php decides
     * about those of presence channels, and the method here() of a component's class about that of an event
     * which the class listens to and the user may hear.
     *
     * @return ?array{id: string, info: mixed}
     */
    private function here(array $room): ?array
    {
        $name = (string) ($room['name'] ?? '');
        try {
            if (str_starts_with($name, Presence::CHANNEL)) {
                return Presence::member(Channels::member('presence-'.substr($name, strlen(Presence::CHANNEL)), Services::get('request')));
            }
            $class = $this->componentClass($room['componentClass'] ?? null);
            $component = app($class);
            $match = is_array($room['match'] ?? null) ? $room['match'] : [];

            return self::hears($component, $name, $match) && method_exists($component, 'here') ? Presence::member($component->here($name, $match)) : null;
        } catch (CallRejection) {
            // A class that does not exist must not keep the page out of other rooms.
            return null;
        }
    }

    /** Hands events of connections to the class that the gateways' settings name. */
    private static function tellListener(array $data): array
    {
        $class = (string) ($data['listener'] ?? '');
        if (! is_subclass_of($class, LifecycleListener::class)) {
            throw new RuntimeException("DIFFYNE_LIFECYCLE_LISTENER: {$class} is no class that implements ".LifecycleListener::class);
        }
        app($class)->handle($data['events'] ?? []);

        return BridgeReply::make(['outcome' => 'ok'], ['heard' => true]);
    }

    /** The class's name in its own spelling, whatever the client's is. */
    private function componentClass(mixed $class): string
    {
        if (! is_string($class) || strlen($class) > self::NAME_LENGTH || preg_match(self::CLASS_NAME, $class) !== 1) {
            throw new CallRejection('unknown_component', 'Component class not found', is_string($class) ? mb_strcut($class, 0, self::NAME_LENGTH) : '');
        }
        $name = isset($this->classes[$class]) ? $class : self::findClass($class);
        $this->classes[$name] = true;
        $this->names = ['component' => $name];

        return $name;
    }

    private static function findClass(string $class): string
    {
        // Laravel generates a file for each class of this namespace on its first use.
        $found = stripos(ltrim($class, '\\'), 'Facades\\') !== 0 && class_exists($class);
        $found || self::forgetMissingClass(ltrim($class, '\\'));
        $reflection = $found ? new ReflectionClass($class) : null;
        if (! $reflection?->isSubclassOf(Component::class) || $reflection->isAbstract()) {
            throw new CallRejection('unknown_component', 'Component class not found', $class);
        }

        return $reflection->getName();
    }

    /** Removes a class from those that Composer remembers as missing: clients could send any number. */
    private static function forgetMissingClass(string $class): void
    {
        foreach (spl_autoload_functions() as $loader) {
            if (is_array($loader) && $loader[0] instanceof ClassLoader && property_exists($loader[0], 'missingClasses')) {
                Closure::bind(function () use ($class): void {
                    unset($this->missingClasses[$class]);
                }, $loader[0], ClassLoader::class)();
            }
        }
    }

    /** @return array<string, true> the component's own public properties, which make up its state */
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
            throw new CallRejection('invalid', 'params must be an array');
        }
        try {
            // Always positional: an object's keys would become named arguments.
            $returned = $component->{$method}(...array_values($params));
        } catch (TypeError $error) {
            throw self::isAboutParametersOf($error, $class, $method) ? self::wrongParameter($component, $method, $params, $error) : $error;
        }
        // A habit from controllers, which would be silent here.
        if ($returned instanceof SymfonyResponse) {
            error_log("{$class}::{$method}() returns a response, which nobody gets: \$this->redirect(\$url) sends the page elsewhere");
        }
    }

    /** The method's name in its own spelling, if clients may call it. */
    private function callable(Component $component, string $method): string
    {
        $class = $component::class;
        if (isset($this->methods["$class::$method"])) {
            $this->names['method'] = $method;

            return $method;
        }
        if (strlen($method) > self::NAME_LENGTH || ! method_exists($component, $method)) {
            throw new CallRejection('unknown_method', '', mb_strcut($method, 0, self::NAME_LENGTH));
        }
        $reflection = new ReflectionMethod($component, $method);
        $this->names['method'] = $name = $reflection->getName();
        $marked = $reflection->getAttributes(Invokable::class) !== [] || $reflection->getAttributes(On::class) !== [];
        if (! $marked || ! $reflection->isPublic() || $reflection->isStatic()) {
            throw new CallRejection('method', "Method [{$name}] is not invokable. Add #[Invokable] attribute to allow client invocation.", $name);
        }
        $this->methods["$class::$name"] = true;

        return $name;
    }

    /** Whether a type error is about the parameters of this method, and not of a function that it calls. */
    private static function isAboutParametersOf(TypeError $error, string $class, string $method): bool
    {
        $frame = $error->getTrace()[0] ?? [];
        $declared = (new ReflectionMethod($class, $method))->getDeclaringClass()->getName();

        return ($frame['function'] ?? '') === $method && ($frame['class'] ?? '') === $declared
            && ($frame['file'] ?? '') === __FILE__;
    }

    private static function wrongParameter(Component $component, string $method, array $params, TypeError $error): CallRejection
    {
        $parameters = (new ReflectionMethod($component, $method))->getParameters();
        if (preg_match('/Argument #(\d+) \(\$(\w+)\) (must be of type .+ given)/', $error->getMessage(), $found) === 1) {
            return new CallRejection('method', "Parameter [{$found[2]}] of method [{$method}] {$found[3]}.");
        }
        $name = ($parameters[count($params)] ?? null)?->getName() ?? '?';

        return new CallRejection('method', "Parameter [{$name}] of method [{$method}] is missing.");
    }

    private function update(Component $component, string $property, mixed $value, array $state): void
    {
        if (! array_key_exists($property, $state) || ! isset($this->stateProperties($component::class)[$property])) {
            throw new CallRejection('unknown_property', '', mb_strcut($property, 0, self::NAME_LENGTH));
        }
        try {
            $component->updateProperty($property, $value);
        } catch (TypeError $error) {
            $pattern = '/^Cannot assign (.+) to property .+::\$(\w+) of type (.+)$/';
            if (preg_match($pattern, $error->getMessage(), $found) !== 1 || $found[2] !== $property) {
                throw $error;
            }
            throw new CallRejection('property', "Property [{$property}] must be of type {$found[3]}, {$found[1]} given.");
        }
    }

    private function renderer(): Renderer
    {
        return Services::get(Renderer::class);
    }
}
