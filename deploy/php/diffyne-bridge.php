<?php

/*
 * The bridge: runs the calls of Diffyne Cluster's workers inside a Laravel application.
 *
 * The php backend loads this file into its processes by itself. For php-fpm or another server, load it in a service
 * provider's register() method:
 *
 *     require_once base_path('diffyne-bridge.php');
 *     Diffyne\Cluster\Bridge::install($this->app);
 *
 * PHP 8.2 or newer, Laravel 10 to 13, no Composer package. Part of Diffyne Cluster, MIT licensed.
 */

namespace Diffyne\Cluster {

    use Attribute;
    use BadMethodCallException;
    use Closure;
    use Composer\Autoload\ClassLoader;
    use Diffyne\Attributes\Computed;
    use Diffyne\Attributes\Invokable;
    use Diffyne\Attributes\Lazy;
    use Diffyne\Attributes\Locked;
    use Diffyne\Attributes\On;
    use Diffyne\Attributes\QueryString;
    use Diffyne\Component;
    use Diffyne\DiffyneManager;
    use Diffyne\Exceptions\RedirectException;
    use Diffyne\Security\StateSigner;
    use Diffyne\State\ComponentHydrator;
    use Diffyne\VirtualDOM\PatchSerializer;
    use Diffyne\VirtualDOM\Renderer;
    use FilesystemIterator;
    use Illuminate\Container\Container;
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
    use Illuminate\Routing\Router;
    use Illuminate\Session\NullSessionHandler;
    use Illuminate\Support\MessageBag;
    use Illuminate\Validation\ValidationException;
    use Illuminate\View\Factory;
    use InvalidArgumentException;
    use JsonException;
    use RecursiveDirectoryIterator;
    use RecursiveIteratorIterator;
    use ReflectionClass;
    use ReflectionMethod;
    use ReflectionProperty;
    use RuntimeException;
    use Symfony\Component\HttpFoundation\InputBag;
    use Throwable;
    use TypeError;
    use UnitEnum;

    // The php backend has loaded it already when an application loads it for another server as well.
    if (! class_exists(Bridge::class, false)) {
        /** A call that cannot be run, with a text for the client. */
        final class CallRejection extends RuntimeException
        {
            public function __construct(public readonly string $outcome, string $message, public readonly string $name = '')
            {
                parent::__construct($message);
            }
        }

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

        /**
         * For components that show their answer while they still make it.
         *
         *     <p diff:stream="answer">{{ $answer }}</p>
         *
         *     foreach ($words as $word) {
         *         $this->answer .= $word;
         *         $this->stream(to: 'answer', content: $word);
         *     }
         */
        trait Streaming
        {
            /**
             * Sends a part of the answer to the page, which shows the text at the end of the component's element with
             * diff:stream="{$to}", or in place of what that shows. What the component renders at last takes its place.
             *
             * Waits while the browser reads more slowly than this. False when the browser has left; then
             * connection_aborted() is true as well, and the next part ends the method, unless ignore_user_abort() is on.
             */
            public function stream(string $to, string|\Stringable|int|float $content, bool $replace = false): bool
            {
                return Parts::send($to, (string) $content, $replace);
            }
        }

        /** Ends a method whose browser has left. */
        final class ClientLeft extends RuntimeException
        {
            public function __construct()
            {
                parent::__construct('the browser has left');
            }
        }

        /** Where the parts of the current call's answer go. */
        final class Parts
        {
            /** The longest content of a part, in bytes. */
            private const CONTENT_BYTES = 65536;

            private const PLACE_BYTES = 255;

            private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE;

            /** Writes a part, and tells whether the browser is still there. Null: nobody takes parts. */
            private static ?Closure $write = null;

            private static bool $hasLeft = false;

            /** Begins a call. */
            public static function begin(?Closure $write): void
            {
                [self::$write, self::$hasLeft] = [$write, false];
            }

            public static function end(): void
            {
                self::$write = null;
            }

            public static function send(string $to, string $content, bool $replace): bool
            {
                if ($to === '' || strlen($to) > self::PLACE_BYTES) {
                    throw new InvalidArgumentException('The name of a place for parts has 1 to '.self::PLACE_BYTES.' bytes.');
                }
                if (strlen($content) > self::CONTENT_BYTES) {
                    throw new InvalidArgumentException('A part of an answer may have '.self::CONTENT_BYTES.' bytes, and this one has '.strlen($content).'.');
                }
                if (self::$write === null) {
                    return true;
                }
                if (self::$hasLeft) {
                    if (! ignore_user_abort()) {
                        throw new ClientLeft();
                    }

                    return false;
                }
                self::$hasLeft = ! (self::$write)(['to' => $to, 'content' => $content] + ($replace ? ['replace' => true] : []));

                return ! self::$hasLeft;
            }

            /**
             * Writes parts as lines of the response that a worker reads over HTTP or FastCGI. Null where the server gives
             * PHP no way to do that: Octane's answers go out as a whole.
             */
            public static function lines(): ?Closure
            {
                if (! in_array(PHP_SAPI, ['fpm-fcgi', 'cgi-fcgi', 'cli-server', 'apache2handler', 'litespeed'], true)) {
                    return null;
                }

                return static function (array $part): bool {
                    $before = (bool) ignore_user_abort(true);
                    if (! headers_sent()) {
                        header('Content-Type: application/x-diffyne');
                        // nginx would otherwise collect the parts.
                        header('X-Accel-Buffering: no');
                    }
                    $printed = [];
                    // A buffer that PHP does not let go keeps the part until the end.
                    while (ob_get_level() > 0 && is_string($level = ob_get_clean())) {
                        $printed[] = $level;
                    }
                    echo '{"part":', json_encode($part, self::JSON), "}\n";
                    flush();
                    while ($printed !== []) {
                        ob_start();
                        echo array_pop($printed);
                    }
                    ignore_user_abort($before);

                    return connection_aborted() === 0;
                };
            }
        }

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

            private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;

            /** The reply to the last call: its head, and the client's JSON. */
            public ?array $reply = null;

            /** What components see instead of the bridge's own route. */
            public readonly EndpointRequest $endpoint;

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
            }

            /** Installs the bridge. For an application's service provider. */
            public static function install(Application $app): self
            {
                $bridge = new self();
                // Read into the configuration, which `config:cache` keeps: the environment may not be there later.
                $app['config']->set('diffyne.cluster', array_replace([
                    'broadcast_events' => env('DIFFYNE_BROADCAST_EVENTS', 'message-sent'),
                    'broadcast_depth' => env('DIFFYNE_BROADCAST_DEPTH', 2),
                    'publish_url' => env('DIFFYNE_PUBLISH_URL'),
                    'admin_token' => env('DIFFYNE_ADMIN_TOKEN'),
                    'health_url' => env('DIFFYNE_HEALTH_URL'),
                    'locked' => env('DIFFYNE_LOCKED', 'signed'),
                ], (array) $app['config']->get('diffyne.cluster', [])));
                // Pages get the second signature with their first state. The package's own endpoint does not accept it.
                $app->extend(Renderer::class, static fn (Renderer $renderer) => Locks::signingRenderer($renderer));
                self::signMountParams($app);
                $app['events']->listen(RouteMatched::class, static fn (RouteMatched $matched) => Locks::cutSignature($matched));
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
                $this->reply = $this->runInSession($request, $call['head'], $call['payload']);

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
                    return new Response((string) self::VERSION);
                }
                self::setBrowser($request, $head);
                $request->attributes->set('diffyne.call', true);
                $this->endpoint->replace($request, (string) ($head['kind'] ?? ''), $payload);
                // A call's output would precede the reply. A pool buffers it by itself.
                $levels = ob_get_level();
                ob_start();
                Parts::begin(($head['parts'] ?? false) === true ? Parts::lines() : null);
                $reply = $this->runInSession($request, $head, $payload);
                Parts::end();
                $printed = '';
                while (ob_get_level() > $levels) {
                    $printed = ob_get_clean().$printed;
                }
                $printed === '' || error_log(strlen($printed).' bytes of output in a Diffyne call went nowhere: '.substr($printed, 0, 300));
                // An exception's message may be no UTF-8.
                $head = json_encode($reply['head'] + ['length' => strlen($reply['body'])], self::JSON | JSON_INVALID_UTF8_SUBSTITUTE);

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
                    $response->setContent(json_encode($head, self::JSON | JSON_INVALID_UTF8_SUBSTITUTE)."\n".$body);
                }
            }

            /** Runs a call and adds to its reply what happened to the user's session. */
            private function runInSession(Request $request, array $head, string $payload): array
            {
                $session = $request->hasSession() ? $request->session() : null;
                if ($session === null) {
                    return $this->run($head, $payload);
                }
                $before = $session->getId();
                $brought = self::bringsSession($request, $session);
                $known = $session->has('_flash');
                if ($brought && ! $known && self::requiresSession($head)) {
                    self::discard($session);

                    return self::sessionEndedReply();
                }
                $reply = $this->run($head, $payload);
                $changed = $session->getId() !== $before;
                $gone = $brought && ! $known && ! $changed;
                // Another request has ended the session while this one ran: it must not be written again. A pool's
                // sessions check that by themselves.
                if (
                    $known && $brought && ! $changed && ! property_exists($session, 'endedElsewhere')
                    && in_array($session->getHandler()->read($before), ['', false, null], true)
                ) {
                    self::discard($session);
                    $gone = true;
                }
                $reply['head']['session'] = $changed ? 'changed' : ($gone ? 'gone' : 'same');

                return $reply;
            }

            /** Whether a request has the cookie of a session. A driver that stores nothing cannot lose one. */
            private static function bringsSession(Request $request, object $session): bool
            {
                $isStored = ! in_array(config('session.driver'), ['array', 'null', null], true);

                return $isStored && $request->cookies->has($session->getName());
            }

            /**
             * Whether a call must not run without the session that its connection has brought.
             *
             * When another tab logs in, the session of an open WebSocket ends. Its next call would be a guest's.
             */
            private static function requiresSession(array $head): bool
            {
                return ($head['session'] ?? '') === 'required' && $head['kind'] !== 'grant';
            }

            /** Stops a call of the fast path that opens a session which has ended. */
            public static function checkSession(object $session, Request $request): void
            {
                if (self::hasLostSession($session, $request)) {
                    throw new CallRejection('session_ended', '');
                }
            }

            /** Whether such a call has opened a session that has ended. */
            public static function hasLostSession(object $session, Request $request): bool
            {
                $call = $request->attributes->get('diffyne.call');

                return is_array($call) && self::requiresSession($call) && ! $session->existed && self::bringsSession($request, $session);
            }

            public static function sessionEndedReply(): array
            {
                return self::reply(['outcome' => 'session_ended', 'session' => 'gone'], null);
            }

            /** Keeps a session that has ended from being written again. */
            private static function discard(object $session): void
            {
                $session->flush();
                $session->setHandler(new NullSessionHandler());
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
                $reply = $this->tryRun($head, $payload);
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
                        default => throw new CallRejection('invalid', 'This worker does not do that.'),
                    };
                } catch (CallRejection $rejection) {
                    return self::failureReply($rejection->outcome, $rejection->getMessage(), ['name' => $rejection->name]);
                } catch (ClientLeft) {
                    return self::failureReply('client_left', '');
                } catch (ValidationException $invalid) {
                    return self::failureReply('validation', 'Validation failed', ['errors' => $invalid->errors()]);
                } catch (Throwable $error) {
                    $isExchange = in_array($head['kind'], ['call', 'update'], true);

                    return ($isExchange ? self::endpointReply($error) : null) ?? $this->exceptionReply($error);
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
                    $reply = self::viewReply($component, $old, $html, ($data['exact'] ?? false) === true);
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

                return PageState::encodable($component, $response['c']['st'], static fn () => self::successReply($response));
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

                return PageState::encodable($component, $rendered['state'], static fn () => self::reply(['outcome' => 'ok'], [
                    'success' => true,
                    'id' => $rendered['id'],
                    'html' => $rendered['html'],
                    'state' => $rendered['state'],
                    'fingerprint' => $rendered['fingerprint'],
                    'signature' => Locks::signature($component, $rendered['state'], $signature, $trust),
                    'eventListeners' => (object) ($rendered['eventListeners'] ?? []),
                ]));
            }

            /** Decides for each event whether the user may hear it: the class has to listen to it, and may have a policy. */
            private function grant(array $data): array
            {
                $granted = [];
                foreach ($data['events'] ?? [] as $event) {
                    $class = $this->componentClass($event['componentClass'] ?? null);
                    $component = app($class);
                    $name = (string) ($event['name'] ?? '');
                    $listens = array_key_exists($name, $component->getEventListeners());
                    $match = is_array($event['match'] ?? null) ? $event['match'] : [];
                    $granted[] = $listens && (! method_exists($component, 'mayHear') || $component->mayHear($name, $match) === true);
                }

                return self::reply(['outcome' => 'ok'], ['granted' => $granted]);
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
                    $component->{$method}(...array_values($params));
                } catch (TypeError $error) {
                    throw self::isAboutParametersOf($error, $class, $method) ? self::wrongParameter($component, $method, $params, $error) : $error;
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

            private static function successReply(array $response): array
            {
                return self::reply(['outcome' => 'ok'] + self::eventsOf($response), $response);
            }

            /** What a worker is told of a response's events: those that may go to the whole cluster, and how many there are. */
            private static function eventsOf(array $response): array
            {
                $events = [];
                foreach ($response['events'] ?? [] as $index => $event) {
                    if ($event['to'] === null) {
                        $params = json_encode(array_values($event['params']), self::JSON);
                        $events[] = ['index' => $index, 'name' => $event['name'], 'params' => $params];
                    }
                }

                return ['events' => $events, 'event_count' => count($response['events'] ?? [])];
            }

            /**
             * The parts of a response whose patches, fingerprint and signature the worker makes: both HTMLs, the state, and the
             * rest of the JSON from behind the signature on.
             */
            private static function viewReply(Component $component, ?string $old, string $html, bool $isExact): array
            {
                $state = $component->getState();
                $errors = $component->getErrorBag();
                $more = array_filter(['e' => $errors->isNotEmpty() ? $errors->toArray() : [], 'q' => $component->getQueryString()]);
                $response = array_filter(['events' => $component->getDispatchedEvents(), 'browserEvents' => $component->getBrowserEvents()]);
                $members = static fn (array $values): string => $values === [] ? '}' : ','.substr(json_encode($values, self::JSON), 1);
                [$json, $rest] = PageState::encodable($component, $state, static function () use ($component, $state, $isExact, $more, $response, $members): array {
                    try {
                        return [json_encode($state, self::JSON), $members($more).$members($response)];
                    } catch (JsonException $error) {
                        // It names the property where it knows the reason.
                        PageState::signature($component, $state, '', $isExact);
                        throw $error;
                    }
                });
                $locked = array_keys(array_intersect_key($state, Locks::of($component::class)['locked']));
                $view = ['html' => strlen($html), 'state' => strlen($json), 'locked' => $locked] + ($old === null ? [] : ['old' => strlen($old)]);

                return [
                    'head' => ['outcome' => 'ok', 'view' => $view, 'memory' => memory_get_usage(true)] + self::eventsOf($response),
                    'body' => $old.$html.$json.$rest,
                ];
            }

            private static function failureReply(string $outcome, string $error, array $more = []): array
            {
                return self::reply(['outcome' => $outcome, 'error' => $error] + $more, null);
            }

            private static function reply(array $head, ?array $response): array
            {
                $head['memory'] = memory_get_usage(true);

                return ['head' => $head, 'body' => $response === null ? '' : json_encode($response, self::JSON)];
            }

            /** The reply to exceptions that the package's own endpoint answers with their own words, or follows. */
            private static function endpointReply(Throwable $error): ?array
            {
                return match (true) {
                    $error instanceof RedirectException => self::successReply(['s' => true, 'redirect' => $error->getRedirectData()['redirect']]),
                    $error instanceof BadMethodCallException => self::failureReply('method', $error->getMessage()),
                    $error instanceof InvalidArgumentException => self::failureReply('property', $error->getMessage()),
                    default => null,
                };
            }

            /** An error of the application: reported there, and shown to clients in debug mode only. */
            private function exceptionReply(Throwable $error): array
            {
                try {
                    app(ExceptionHandler::class)->report($error);
                } catch (Throwable) {
                    // A failing handler must not hide the error.
                }

                return self::failureReply('exception', $error->getMessage(), [
                    'exception' => $error::class,
                    'file' => str_replace(base_path().'/', '', $error->getFile()),
                    'line' => $error->getLine(),
                ]);
            }
        }

        /**
         * Makes the request that components see: the one that a page would have sent to the package's own endpoint.
         *
         * The application's middleware has seen the bridge's route before.
         */
        final class EndpointRequest
        {
            /** Name and path of the package's routes, by kind of call. Grants have none of their own. */
            private const ROUTES = [
                'mount' => ['diffyne.loadLazy', '/update/lazy'],
                'update' => ['diffyne.update', '/update'],
            ];

            /** Server variables that contain the path of a request. */
            private const PATH_VARIABLES = ['REQUEST_URI', 'DOCUMENT_URI', 'PATH_INFO', 'PHP_SELF', 'SCRIPT_NAME', 'UNENCODED_URL'];

            /** @var array<string, Route> */
            private array $routes = [];

            private static ?Closure $reset = null;

            private static ?Closure $setCurrent = null;

            /** @return array<string, string> the server variables that differ from those of the bridge's route */
            public function serverVariables(string $kind, string $payload): array
            {
                return [
                    'REQUEST_METHOD' => 'POST',
                    'REQUEST_URI' => '/'.$this->route($kind)->uri(),
                    'CONTENT_TYPE' => 'application/json',
                    'CONTENT_LENGTH' => (string) strlen($payload),
                ];
            }

            /** Makes this of a request to the bridge's route, which everybody holds who has asked for the request before. */
            public function replace(Request $request, string $kind, string $payload): void
            {
                $variables = $this->serverVariables($kind, $payload);
                foreach (self::PATH_VARIABLES as $name) {
                    $path = $request->server->get($name);
                    if (is_string($path) && str_ends_with($path, '/'.Bridge::PATH)) {
                        $variables[$name] = substr($path, 0, -strlen('/'.Bridge::PATH)).'/'.$this->route($kind)->uri();
                    }
                }
                $request->server->add($variables);
                $request->headers->add(['Content-Type' => $variables['CONTENT_TYPE'], 'Content-Length' => $variables['CONTENT_LENGTH']]);
                foreach (['X-HTTP-Method-Override', 'X-Diffyne-Bridge'] as $name) {
                    $request->headers->remove($name);
                    $request->server->remove('HTTP_'.strtoupper(strtr($name, '-', '_')));
                }
                self::$reset ??= Closure::bind(static function (Request $request, string $payload): void {
                    [$request->content, $request->method, $request->format] = [$payload, null, null];
                    [$request->pathInfo, $request->requestUri, $request->baseUrl, $request->basePath] = [null, null, null, null];
                }, null, Request::class);
                (self::$reset)($request, $payload);
                $this->setCurrentRoute($request, $kind);
            }

            /** Makes the package's route the current one. */
            public function setCurrentRoute(Request $request, string $kind): Route
            {
                // The package's paths have no parameters, so that what is bound once fits every request.
                $route = clone $this->route($kind);
                $app = Container::getInstance();
                $route->setContainer($app);
                $request->setRouteResolver(static fn () => $route);
                $app->instance(Route::class, $route);
                self::$setCurrent ??= Closure::bind(static function (Router $router, Route $route, Request $request): void {
                    [$router->current, $router->currentRequest] = [$route, $request];
                }, null, Router::class);
                (self::$setCurrent)(Services::get('router'), $route, $request);

                return $route;
            }

            /** Gives the call's message, which is decoded already, to the request, and what middleware has added to its input. */
            public function fill(mixed $data): void
            {
                $request = Services::get('request');
                $added = $request->request->all();
                $input = new InputBag($added === [] ? (array) $data : array_replace((array) $data, $added));
                $request->request = $input;
                $request->setJson($input);
            }

            private function route(string $kind): Route
            {
                $kind = $kind === 'mount' ? 'mount' : 'update';

                return $this->routes[$kind] ??= self::findRoute(...self::ROUTES[$kind]);
            }

            private static function findRoute(string $name, string $path): Route
            {
                $routes = app('router')->getRoutes();
                $uri = trim((string) config('diffyne.route_prefix', '_diffyne'), '/').$path;
                $route = $routes->getByName($name);
                foreach ($route === null ? $routes->getRoutes() : [] as $other) {
                    if ($other->uri() === $uri && in_array('POST', $other->methods(), true)) {
                        $route = $other;
                    }
                }
                $route ??= (new Route(['POST'], $uri, ['uses' => static fn () => null, 'as' => $name]))->setRouter(app('router'));

                return $route->bind(Request::create('http://localhost/'.$uri, 'POST'));
            }
        }

        /** Services of the application that are made already, without asking the container's callbacks about each. */
        final class Services
        {
            private static ?Closure $find = null;

            public static function get(string $name): object
            {
                $app = Container::getInstance();
                self::$find ??= Closure::bind(static fn (Container $app, string $name) => $app->instances[$name] ?? $app->make($name), null, Container::class);

                return (self::$find)($app, $name);
            }
        }

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

        /** Renders components for a worker that makes the patches. */
        final class ComponentHtml
        {
            private static ?Closure $render = null;

            /** @var array<string, bool> whether the package makes the response, by the renderer's class */
            private static array $isPackage = [];

            /**
             * Renders a component as this renderer does; null where the application makes patches or responses in a way of
             * its own.
             */
            public static function renderer(Renderer $renderer): ?Closure
            {
                self::$isPackage[$renderer::class] ??= self::isPackage($renderer);
                if (! self::$isPackage[$renderer::class]) {
                    return null;
                }
                self::$render ??= Closure::bind(
                    static fn (Renderer $renderer, Component $component): string => $renderer->renderComponentView($component),
                    null,
                    Renderer::class,
                );
                $render = self::$render;

                return static fn (Component $component): string => $render($renderer, $component);
            }

            private static function isPackage(Renderer $renderer): bool
            {
                foreach (['renderUpdate', 'snapshotComponent'] as $method) {
                    $declared = (new ReflectionMethod($renderer, $method))->getDeclaringClass();
                    if ($declared->getName() !== Renderer::class && ! $declared->implementsInterface(PackageRenderer::class)) {
                        return false;
                    }
                }

                // Patches with long names are for readers, who see the package's own.
                return method_exists($renderer, 'renderComponentView') && app(PatchSerializer::class)::class === PatchSerializer::class
                    && config('diffyne.performance.minify_patches', true);
            }
        }

        /** Marks our own extension of the package's renderer. */
        interface PackageRenderer
        {
        }

        /** What a view factory holds while it renders. All renderings of a call begin with the same. */
        final class RenderState
        {
            /** What only a rendering sets, and an interrupted one leaves behind. */
            private const OPEN = [
                'renderCount' => 0, 'sectionStack' => [], 'pushStack' => [], 'componentStack' => [], 'componentData' => [],
                'currentComponentData' => [], 'slots' => [], 'slotStack' => [], 'fragmentStack' => [], 'loopsStack' => [],
                'translationReplacements' => [],
            ];

            /** What an application may also set before it renders: a provider that pushes onto a stack, for example. */
            private const CONTENT = ['sections', 'pushes', 'prepends', 'renderedOnce', 'fragments'];

            private static ?Closure $read = null;

            private static ?Closure $write = null;

            /** @var array<string, mixed> */
            private array $state = [];

            public function __construct(private object $views)
            {
                if (! $views instanceof Factory) {
                    return;
                }
                self::$read ??= Closure::bind(static function (Factory $views, array $names): array {
                    $state = [];
                    foreach ($names as $name) {
                        $state[$name] = $views->{$name};
                    }

                    return $state;
                }, null, Factory::class);
                self::$write ??= Closure::bind(static function (Factory $views, array $state): void {
                    foreach ($state as $name => $value) {
                        $views->{$name} = $value;
                    }
                }, null, Factory::class);
                $this->state = self::OPEN + (self::$read)($views, self::CONTENT);
            }

            /** Brings the factory into the state that it had at the start of the call. */
            public function restore(): void
            {
                $this->state === [] || (self::$write)($this->views, $this->state);
            }
        }

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

        /** A state as a page returns it, and what no page can return. */
        final class PageState
        {
            /** The largest integer up to which JavaScript has all of them. */
            private const INTEGER_MAX = 9007199254740991;

            /** How deep a state may nest: PHP's 512 without the two objects that are around it in a response. */
            private const DEPTH_MAX = 510;

            private const NO_JSON = 'cannot be sent to a page: ';

            private const CHANGED = 'JavaScript changes integers beyond 2^53, and the script of this page does not keep them: load companion.js or client.js, or use a string.';

            /**
             * The signature of a state, which covers what comes back: JavaScript prints some numbers in another way than PHP.
             *
             * @param bool $isExact whether the page's script returns integers as it got them
             *
             * @throws CallRejection if the page cannot return the state
             */
            public static function signature(Component $component, array $state, string $signature, bool $isExact): string
            {
                try {
                    $returned = self::returned($state, $isExact);
                } catch (InvalidArgumentException $error) {
                    foreach ($state as $name => $value) {
                        try {
                            self::returned([$value], $isExact);
                        } catch (InvalidArgumentException $error) {
                            throw self::rejection($component, $name, $error->getMessage());
                        }
                    }
                    throw $error;
                }

                return $returned === null ? $signature : StateSigner::sign(self::withoutEmptyTexts($returned), $component->id);
            }

            /**
             * The values as they come back, or null if they come back as they are.
             *
             * @throws InvalidArgumentException if they cannot
             */
            public static function returned(array $values, bool $isExact = true, int $depth = 1): ?array
            {
                if ($depth > self::DEPTH_MAX) {
                    throw new InvalidArgumentException('nests too deep: a state may have '.self::DEPTH_MAX.' levels.');
                }
                $changed = null;
                $hasIndex = $hasName = false;
                foreach ($values as $key => $value) {
                    is_int($key) ? $hasIndex = true : $hasName = true;
                    if (is_array($value)) {
                        $new = self::returned($value, $isExact, $depth + 1);
                    } elseif (is_float($value)) {
                        $new = self::float($value);
                    } elseif (is_object($value)) {
                        $decoded = self::decoded($value);
                        $new = self::returned([$decoded], $isExact, $depth)[0] ?? $decoded;
                    } elseif (is_int($value) && ! $isExact && self::isChanged($value)) {
                        throw new InvalidArgumentException("holds the integer {$value}. ".self::CHANGED);
                    } else {
                        continue;
                    }
                    if ($new !== null) {
                        $changed ??= $values;
                        $changed[$key] = $new;
                    }
                }

                return $hasIndex && $hasName ? self::ordered($changed ?? $values) : $changed;
            }

            /**
             * Keys that JavaScript takes for indexes come first, the smallest first. PHP's sort depends on the order before it
             * where keys are equal to each other, as 10 and "1e1" are.
             */
            private static function ordered(array $values): array
            {
                $isIndex = static fn (int|string $key): bool => is_int($key) && $key >= 0 && $key < 2 ** 32 - 1;
                $indexes = array_filter($values, $isIndex, ARRAY_FILTER_USE_KEY);
                ksort($indexes);

                return $indexes + $values;
            }

            private static function decoded(object $value): mixed
            {
                try {
                    return json_decode(json_encode($value, JSON_THROW_ON_ERROR), true, 512, JSON_THROW_ON_ERROR);
                } catch (JsonException $error) {
                    throw new InvalidArgumentException(self::NO_JSON.$error->getMessage().'.', 0, $error);
                }
            }

            /** Whether JavaScript prints another integer than it has read. */
            private static function isChanged(int $value): bool
            {
                $isLarge = $value > self::INTEGER_MAX || $value < -self::INTEGER_MAX;

                return $isLarge && self::printed((float) $value) !== (string) $value;
            }

            /**
             * A float as it comes back, or null if it comes back as it is: JavaScript has no -0 in JSON, and prints floats below
             * 1e21 without an exponent.
             */
            private static function float(float $value): ?int
            {
                if (! is_finite($value)) {
                    throw new InvalidArgumentException('is no finite number, which JSON does not have.');
                }
                if ($value === 0.0) {
                    return fdiv(1, $value) < 0 ? 0 : null;
                }
                if (abs($value) < 1e17 || abs($value) >= 2 ** 63) {
                    return null;
                }

                return (int) self::printed($value);
            }

            /** A float without a fraction, below 1e21, as JavaScript prints it. */
            private static function printed(float $value): string
            {
                [$mantissa, $exponent] = explode('e+', (string) json_encode($value)) + [1 => '0'];
                [$whole, $fraction] = explode('.', $mantissa) + [1 => ''];

                return $whole.str_pad(rtrim($fraction, '0'), (int) $exponent, '0');
            }

            /** Laravel turns empty texts of requests into null. The package leaves those of a paginator as they are. */
            private static function withoutEmptyTexts(array $values): array
            {
                foreach ($values as $key => $value) {
                    if ($value === '') {
                        $values[$key] = null;
                    } elseif (is_array($value) && ($value['__paginator'] ?? null) !== true) {
                        $values[$key] = self::withoutEmptyTexts($value);
                    }
                }

                return $values;
            }

            /**
             * Encodes a response, and names the property for which JSON has no form, a text that is no UTF-8 for example.
             *
             * @throws CallRejection if there is one
             */
            public static function encodable(Component $component, array $state, Closure $encode): mixed
            {
                try {
                    return $encode();
                } catch (JsonException $error) {
                    foreach ($state as $name => $value) {
                        if (json_encode($value) === false) {
                            throw self::rejection($component, $name, self::NO_JSON.json_last_error_msg().'.');
                        }
                    }
                    throw $error;
                }
            }

            private static function rejection(Component $component, string $name, string $text): CallRejection
            {
                return new CallRejection('unreturnable', "Property [{$name}] of ".$component::class." {$text}");
            }
        }

        /** The documented trait that tells components whether a call came over the WebSocket. */
        trait InteractsWithWebSocket
        {
            public function isWebSocketConnected(): bool
            {
                return Bridge::$transport === 'ws';
            }
        }

        /** The documented health check, also app('diffyne.websocket.health'). */
        final class WebSocketHealthChecker
        {
            private const TIMEOUT_SECONDS = 2;

            public function isHealthy(): bool
            {
                return $this->status()['status'] === 'connected';
            }

            /**
             * The status in the cache, and a gateway's own where DIFFYNE_HEALTH_URL names one.
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

        /** Publishes the events of AJAX calls that did not come through a worker. */
        final class Publisher
        {
            private const TIMEOUT_SECONDS = 2;

            /** Publishes the events of a response that are for everybody, once it was sent. */
            public static function handled(RequestHandled $handled): void
            {
                [$request, $response] = [$handled->request, $handled->response];
                $route = $request->route();
                // A worker publishes the events of its own calls.
                if ($request->attributes->has('diffyne.call') || ! $route instanceof Route || ! str_starts_with(ltrim($route->getActionName(), '\\'), 'Diffyne\\') || ! $request->isMethod('POST')) {
                    return;
                }
                $bySecret = (string) $request->header('X-Diffyne-Bridge');
                // Decoded to objects, so that an empty object stays one.
                $events = json_decode((string) $response->getContent())->events ?? null;
                // A worker publishes the events of its own calls.
                if (! is_array($events) || ($bySecret !== '' && hash_equals(Bridge::secret(), $bySecret))) {
                    return;
                }
                $depth = is_array($request->input('cause')) ? (int) ($request->input('cause')['depth'] ?? 0) + 1 : 0;
                $items = self::broadcasts($events, (string) $request->header('X-Diffyne-Client-Id'), $depth);
                if ($items !== []) {
                    app()->terminating(static fn () => self::publish($items));
                }
            }

            /** @return list<string> */
            private static function broadcasts(array $events, string $client, int $depth): array
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
