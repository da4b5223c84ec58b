<?php

/*
 * The fast path: runs a call on the package's classes without the HTTP kernel, where everything that the kernel would
 * do can be done at first use. Comes over standard input, after framework.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Diffyne\Cluster\Bridge;
    use Diffyne\Cluster\BridgeReply;
    use Diffyne\Cluster\CallSession;
    use Diffyne\Cluster\Services;
    use Diffyne\Cluster\Users;
    use Illuminate\Auth\AuthManager;
    use Illuminate\Contracts\Http\Kernel;
    use Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse;
    use Illuminate\Cookie\CookieJar;
    use Illuminate\Cookie\Middleware\EncryptCookies;
    use Illuminate\Foundation\FileBasedMaintenanceMode;
    use Illuminate\Foundation\Http\Events\RequestHandled;
    use Illuminate\Foundation\Events\Terminating;
    use Illuminate\Http\Middleware\TrustProxies;
    use Illuminate\Http\Request;
    use Illuminate\Http\Response;
    use Illuminate\Routing\Events\RouteMatched;
    use Illuminate\Routing\Route;
    use Illuminate\Session\Middleware\StartSession;
    use Illuminate\Session\Store;
    use Illuminate\View\Middleware\ShareErrorsFromSession;

    final class FastPath
    {
        /** The framework's middleware that does nothing here, or whose work is done at first use. */
        private const KNOWN_MIDDLEWARE = [
            TrustProxies::class,
            'Illuminate\Http\Middleware\HandleCors',
            'Illuminate\Foundation\Http\Middleware\PreventRequestsDuringMaintenance',
            'Illuminate\Foundation\Http\Middleware\ValidatePostSize',
            'Illuminate\Http\Middleware\ValidatePostSize',
            'Illuminate\Http\Middleware\ValidatePathEncoding',
            'Illuminate\Foundation\Http\Middleware\TrimStrings',
            'Illuminate\Foundation\Http\Middleware\ConvertEmptyStringsToNull',
            'Illuminate\Foundation\Http\Middleware\InvokeDeferredCallbacks',
            EncryptCookies::class,
            AddQueuedCookiesToResponse::class,
            StartSession::class,
            ShareErrorsFromSession::class,
            'Illuminate\Routing\Middleware\SubstituteBindings',
        ];

        /** @var array<string, string> the application's class for each middleware of the framework */
        private array $middleware = [];

        public readonly SessionKeepAlive $keepAlive;

        private object $maintenance;

        /** The file whose presence means maintenance; null where the application has another sign of it. */
        private ?string $maintenanceFile;

        private Response $response;

        private ?TrustedProxies $trustedProxies = null;

        private Termination $termination;

        /** Reads what a cookie jar holds. */
        private Closure $queued;

        /** Reads the guards that somebody has asked for. */
        private Closure $guards;

        /** Those of providers. */
        private array $guardsAtStart;

        private Closure $decrypt;

        private Closure $encrypt;

        private Closure $addCookie;

        private Closure $collectGarbage;

        /** Why calls have to go through the kernel; null when they do not have to. */
        public readonly ?string $kernelReason;

        public function __construct(private object $app, private Sandbox $sandbox, private Bridge $bridge, private Route $route, Kernel $kernel)
        {
            $this->kernelReason = $this->findKernelReason($kernel);
            $this->maintenance = $app->maintenanceMode();
            $this->maintenanceFile = $this->maintenance::class === FileBasedMaintenanceMode::class ? $app->storagePath('framework/down') : null;
            $this->response = new Response('', 204);
            $this->keepAlive = new SessionKeepAlive();
            $this->trustedProxies = isset($this->middleware[TrustProxies::class]) ? new TrustedProxies($app->make($this->middleware[TrustProxies::class])) : null;
            $this->trustedProxies?->prime();
            $this->termination = new Termination($app);
            $auth = $app->bound('auth') ? $app->make('auth') : null;
            $this->guards = Closure::bind(static fn (): array => $auth instanceof AuthManager ? $auth->guards : [], null, AuthManager::class);
            $this->guardsAtStart = ($this->guards)();
            $this->queued = Closure::bind(static fn (CookieJar $jar): array => $jar->queued, null, CookieJar::class);
            $this->decrypt = Closure::bind(static fn ($cookies, $request) => $cookies->decrypt($request), null, EncryptCookies::class);
            $this->encrypt = Closure::bind(static fn ($cookies, $response) => $cookies->encrypt($response), null, EncryptCookies::class);
            $this->addCookie = Closure::bind(static fn ($start, $response, $session) => $start->addCookieToResponse($response, $session), null, StartSession::class);
            $this->collectGarbage = Closure::bind(static fn ($start, $session) => $start->collectGarbage($session), null, StartSession::class);
        }

        private function findKernelReason(Kernel $kernel): ?string
        {
            $base = 'Illuminate\Foundation\Http\Kernel';
            if (! $kernel instanceof $base || (new \ReflectionMethod($kernel, 'handle'))->getDeclaringClass()->getName() !== $base) {
                return 'the kernel is one of the application\'s own';
            }
            $inKernel = Closure::bind(static fn () => [$kernel->middleware, $kernel->requestLifecycleDurationHandlers ?? []], null, $base);
            [$global, $handlers] = $inKernel();
            if ($handlers !== []) {
                return 'the kernel measures requests';
            }
            if ($this->app['config']->get('session.block')) {
                return 'session.block is on';
            }
            if (! $this->sandbox->supportsLazySessions()) {
                return 'the session store is one of the application\'s own';
            }
            foreach ([...$global, ...$this->app['router']->gatherRouteMiddleware($this->route)] as $middleware) {
                $known = is_string($middleware) ? self::frameworkClass($middleware) : null;
                if ($known === null) {
                    return 'of the middleware '.(is_string($middleware) ? $middleware : 'in a closure');
                }
                $this->middleware[$known] = $middleware;
            }

            return null;
        }

        /** The framework's middleware that this class is, or that it extends without adding methods. */
        private static function frameworkClass(string $middleware): ?string
        {
            foreach (self::KNOWN_MIDDLEWARE as $known) {
                if ($middleware === $known) {
                    return $known;
                }
                if (! class_exists($middleware) || ! class_exists($known) || ! is_subclass_of($middleware, $known)) {
                    continue;
                }
                foreach ((new \ReflectionClass($middleware))->getMethods() as $method) {
                    if (! str_starts_with($method->getDeclaringClass()->getName(), 'Illuminate\\')) {
                        return null;
                    }
                }

                return $known;
            }

            return null;
        }

        /** Whether a call may take the fast path now. */
        public function isAvailable(): bool
        {
            if ($this->kernelReason !== null) {
                return false;
            }

            return ! ($this->maintenanceFile === null ? $this->maintenance->active() : file_exists($this->maintenanceFile));
        }

        /** Runs a call. Returns the reply, and the request and response for terminate(). */
        public function run(array $head, string $payload, array $server): array
        {
            $app = $this->app;
            $endpoint = $this->bridge->endpoint;
            $server = array_replace($server, $endpoint->serverVariables($head['kind'], $payload));
            $call = ['kind' => $head['kind'], 'session' => $head['session'] ?? ''];
            $request = new LazyRequest([], [], ['diffyne.call' => $call], $head['cookies'], [], [], $payload);
            $cookies = $request->cookies;
            $withSession = isset($this->middleware[StartSession::class]);
            $request->resolveLater(
                $server,
                function (Request $request) use ($cookies, $app): void {
                    $request->cookies = $cookies;
                    if (isset($this->middleware[EncryptCookies::class])) {
                        ($this->decrypt)($app->make($this->middleware[EncryptCookies::class]), $request);
                    }
                },
                $withSession ? static fn () => $app['session']->driver() : null,
            );
            Services::set('request', $request);
            $this->trustedProxies?->trust($request);
            $this->sandbox->requestReceived($request);
            if ($head['kind'] === 'lifecycle' && $this->sandbox->session !== null) {
                $this->sandbox->session->leavesNothing = true;
            }
            $route = $endpoint->setCurrentRoute($request, $head['kind']);
            $events = Services::get('events');
            $events->hasListeners(RouteMatched::class) && $events->dispatch(new RouteMatched($route, $request));
            if (isset($this->middleware[ShareErrorsFromSession::class])) {
                Services::get('view')->share('errors', new LazyErrors(static fn () => $app['session']->get('errors')));
            }
            $reply = $this->bridge->run($head, $payload);
            if ($this->bridge->isShared) {
                $reply['head']['shared'] = $this->usedOfUser($request);
            }
            $isEndHeard = $this->isEndHeard($events);
            // Hardly any call sets a cookie, and only then or where somebody hears of it there has to be a response of its own.
            $response = $isEndHeard || $this->sandbox->hasListeners() ? clone $this->response : $this->response;
            if ($this->sandbox->session?->opened || $this->queuedCookies() !== []) {
                $response = new Response('', 204);
                $this->endSession($head, $request, $response, $reply);
                $this->setCookies($response, $reply);
            }
            // What comes after the call may ask for a session that has ended.
            $request->attributes->set('diffyne.call', true);
            $reply['head'] += $this->user($head, $request, $reply);
            $isEndHeard && $events->dispatch(new RequestHandled($request, $response));

            return [$reply, $request, $response];
        }

        /** Whether somebody but the bridge hears of the end of a request. */
        private function isEndHeard(object $events): bool
        {
            $listeners = method_exists($events, 'getRawListeners') ? $events->getRawListeners()[RequestHandled::class] ?? [] : null;

            return $listeners === [$this->bridge->sessionRestorer] ? $events->hasWildcardListeners(RequestHandled::class) : $events->hasListeners(RequestHandled::class);
        }

        /** What the call has used that belongs to its user, as far as that can be seen; empty if nothing. */
        private function usedOfUser(LazyRequest $request): string
        {
            return match (true) {
                $this->sandbox->session?->opened => 'the session',
                array_diff_key(($this->guards)(), $this->guardsAtStart) !== [] => 'the user',
                $request->hasReadCookies() || $this->queuedCookies() !== [] => 'cookies',
                default => '',
            };
        }

        /** What the reply tells of the user. Only a gateway that has asked makes this read a session that the call has not used. */
        private function user(array $head, LazyRequest $request, array $reply): array
        {
            $session = $this->sandbox->session;
            $isOpened = $session?->opened ?? false;
            if (($reply['head']['session'] ?? '') === 'gone' || (! $isOpened && ($head['user'] ?? false) !== true)) {
                return [];
            }
            // Without the cookie of a session there is nothing to open.
            $reads = $isOpened || ($session !== null && $request->cookies->has($session->getName()));

            return Users::told($head, $reads ? $session : null, ($reply['head']['session'] ?? '') === 'changed');
        }

        private function queuedCookies(): array
        {
            $jar = $this->sandbox->isResolved('cookie') ? Services::get('cookie') : null;

            // Hardly ever is there any, and the list takes time to make.
            return $jar === null || ($jar::class === CookieJar::class && ($this->queued)($jar) === []) ? [] : $jar->getQueuedCookies();
        }

        private function setCookies(Response $response, array &$reply): void
        {
            if (isset($this->middleware[AddQueuedCookiesToResponse::class])) {
                foreach ($this->queuedCookies() as $cookie) {
                    $response->headers->setCookie($cookie);
                }
            }
            $set = $response->headers->getCookies();
            if ($set !== [] && isset($this->middleware[EncryptCookies::class])) {
                ($this->encrypt)($this->app->make($this->middleware[EncryptCookies::class]), $response);
                $set = $response->headers->getCookies();
            }
            foreach ($set as $cookie) {
                $reply['head']['set_cookie'][] = (string) $cookie;
            }
        }

        private function endSession(array $head, Request $request, Response $response, array &$reply): void
        {
            $session = $this->sandbox->session;
            if ($session === null || ! $session->opened) {
                return;
            }
            $changed = $session->hasNewId();
            $brought = $this->storesSessions() && $request->cookies->has($session->getName());
            $gone = $brought && ! $session->existed && ! $changed;
            // Even if the component has caught the exception.
            if (CallSession::isLost($session, $request)) {
                $reply = BridgeReply::sessionEnded();

                return;
            }
            if ($session->isChanged()) {
                $this->addCookieIfNew($session, $response);
                $session->save();
                $this->markUsed($session, $head);
            }
            $reply['head']['session'] = $changed ? 'changed' : ($gone || $session->endedElsewhere ? 'gone' : 'same');
        }

        private function addCookieIfNew(Store $session, Response $response): void
        {
            if (! $session->existed || $session->hasNewId()) {
                ($this->addCookie)($this->app->make($this->middleware[StartSession::class]), $response, $session);
            }
        }

        /** Whether the session driver stores anything. */
        private function storesSessions(): bool
        {
            return ! in_array($this->app['config']->get('session.driver'), ['array', 'null', null], true);
        }

        private function markUsed(Store $session, array $head): void
        {
            $cookie = $head['cookies'][$session->getName()] ?? null;
            is_string($cookie) && $this->keepAlive->markUsed(md5($cookie, true), time());
        }

        /** Does the rest of a call's work after its reply was sent. */
        public function terminate(array $head, Request $request, Response $response): void
        {
            $head['cookies'] === [] || guarded(fn () => $this->renewSession($head));
            $events = Services::get('events');
            if ($events->hasListeners(Terminating::class) && class_exists(Terminating::class)) {
                guarded(static fn () => $events->dispatch(new Terminating()));
            }
            $deferred = 'Illuminate\Foundation\Http\Middleware\InvokeDeferredCallbacks';
            if (isset($this->middleware[$deferred]) && $this->sandbox->isResolved('Illuminate\Support\Defer\DeferredCallbackCollection')) {
                guarded(fn () => $this->app->make($this->middleware[$deferred])->terminate($request, $response));
            }
            guarded($this->termination->run(...));
        }

        /** Once a minute, renews a session that only a WebSocket uses. */
        private function renewSession(array $head): void
        {
            if (! isset($this->middleware[StartSession::class])) {
                return;
            }
            $cookie = $head['cookies'][(string) Services::get('config')->get('session.cookie')] ?? null;
            if (! is_string($cookie) || ! $this->storesSessions() || ! $this->keepAlive->isDue($key = md5($cookie, true), time())) {
                return;
            }
            $this->keepAlive->markUsed($key, time());
            $session = $this->app['session']->driver();
            $id = $session->getId();
            SessionKeepAlive::renew($session->getHandler(), $id);
            ($this->collectGarbage)($this->app->make($this->middleware[StartSession::class]), $session);
        }
    }
}
