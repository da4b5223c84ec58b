<?php

/*
 * The short way: a call on the package's classes, without the HTTP kernel, where the kernel would do nothing that
 * cannot be done at first use. Comes over standard input, after sandbox.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Diffyne\Cluster\Bridge;
    use Illuminate\Contracts\Http\Kernel;
    use Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse;
    use Illuminate\Cookie\Middleware\EncryptCookies;
    use Illuminate\Foundation\Http\Events\RequestHandled;
    use Illuminate\Foundation\Events\Terminating;
    use Illuminate\Http\Middleware\TrustProxies;
    use Illuminate\Http\Request;
    use Illuminate\Http\Response;
    use Illuminate\Routing\Events\RouteMatched;
    use Illuminate\Routing\Route;
    use Illuminate\Routing\Router;
    use Illuminate\Session\Middleware\StartSession;
    use Illuminate\Session\Store;
    use Illuminate\View\Middleware\ShareErrorsFromSession;

    final class ShortWay
    {
        /** Middleware of the framework that does nothing here, or whose work is done at first use. */
        private const KNOWN = [
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

        /** @var array<string, string> the application's own class for each of the framework's that it uses */
        private array $uses = [];

        private Touch $touch;

        private object $maintenance;

        private Response $response;

        private Closure $decrypt;

        private Closure $encrypt;

        private Closure $addCookie;

        private Closure $collectGarbage;

        private Closure $makeCurrent;

        /** Why calls have to go through the kernel; null when they need not. */
        public readonly ?string $closed;

        public function __construct(private object $app, private Sandbox $sandbox, private Bridge $bridge, private Route $route, Kernel $kernel)
        {
            $this->closed = $this->whyClosed($kernel);
            $this->maintenance = $app->maintenanceMode();
            $this->response = new Response('', 204);
            $this->touch = new Touch();
            $this->decrypt = Closure::bind(static fn ($cookies, $request) => $cookies->decrypt($request), null, EncryptCookies::class);
            $this->encrypt = Closure::bind(static fn ($cookies, $response) => $cookies->encrypt($response), null, EncryptCookies::class);
            $this->addCookie = Closure::bind(static fn ($start, $response, $session) => $start->addCookieToResponse($response, $session), null, StartSession::class);
            $this->collectGarbage = Closure::bind(static fn ($start, $session) => $start->collectGarbage($session), null, StartSession::class);
            $this->makeCurrent = Closure::bind(static function ($router, $route, $request): void {
                [$router->current, $router->currentRequest] = [$route, $request];
            }, null, Router::class);
        }

        private function whyClosed(Kernel $kernel): ?string
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
            if (! $this->sandbox->followsSessions()) {
                return 'the session store is one of the application\'s own';
            }
            foreach ([...$global, ...$this->app['router']->gatherRouteMiddleware($this->route)] as $middleware) {
                $known = is_string($middleware) ? self::known($middleware) : null;
                if ($known === null) {
                    return 'of the middleware '.(is_string($middleware) ? $middleware : 'in a closure');
                }
                $this->uses[$known] = $middleware;
            }

            return null;
        }

        /** The framework's class that this is, or extends without a method of its own. */
        private static function known(string $middleware): ?string
        {
            foreach (self::KNOWN as $known) {
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

        /** Whether this call may go the short way now. */
        public function isOpen(): bool
        {
            return $this->closed === null && ! $this->maintenance->active();
        }

        /** Runs a call in a sandbox; its answer, and what is left to do after that has left. */
        public function run(object $sandbox, array $head, string $payload, array $server): array
        {
            $request = new LazyRequest([], [], ['diffyne.call' => true], $head['cookies'], [], $server);
            $cookies = $request->cookies;
            $withSession = isset($this->uses[StartSession::class]);
            $request->later(
                function (Request $request) use ($cookies, $sandbox): void {
                    $request->cookies = $cookies;
                    if (isset($this->uses[EncryptCookies::class])) {
                        ($this->decrypt)($sandbox->make($this->uses[EncryptCookies::class]), $request);
                    }
                },
                $withSession ? static fn () => $sandbox['session']->driver() : null,
            );
            $sandbox->instance('request', $request);
            if (isset($this->uses[TrustProxies::class])) {
                $sandbox->make($this->uses[TrustProxies::class])->handle($request, static fn () => null);
            }
            $this->sandbox->received($sandbox, $request);
            $route = clone $this->route;
            $route->bind($request);
            $request->setRouteResolver(static fn () => $route);
            ($this->makeCurrent)($sandbox['router'], $route, $request);
            $events = $sandbox['events'];
            $events->hasListeners(RouteMatched::class) && $events->dispatch(new RouteMatched($route, $request));
            if (isset($this->uses[ShareErrorsFromSession::class])) {
                $sandbox['view']->share('errors', new LazyErrors(static fn () => $sandbox['session']->get('errors')));
            }
            $answer = $this->bridge->run($head, $payload);
            // Nearly every call sets no cookie, and nobody else looks at a response that the framework has not made.
            $response = clone $this->response;
            if ($this->sandbox->session?->begun || $this->sandbox->has($sandbox, 'cookie')) {
                $response = new Response('', 204);
                $this->endSession($sandbox, $head, $request, $response, $answer);
                $this->setCookies($sandbox, $response, $answer);
            }
            $events->hasListeners(RequestHandled::class) && $events->dispatch(new RequestHandled($request, $response));

            return [$answer, $request, $response];
        }

        private function setCookies(object $sandbox, Response $response, array &$answer): void
        {
            if ($this->sandbox->has($sandbox, 'cookie') && isset($this->uses[AddQueuedCookiesToResponse::class])) {
                foreach ($sandbox['cookie']->getQueuedCookies() as $cookie) {
                    $response->headers->setCookie($cookie);
                }
            }
            $set = $response->headers->getCookies();
            if ($set !== [] && isset($this->uses[EncryptCookies::class])) {
                ($this->encrypt)($sandbox->make($this->uses[EncryptCookies::class]), $response);
                $set = $response->headers->getCookies();
            }
            foreach ($set as $cookie) {
                $answer['head']['set_cookie'][] = (string) $cookie;
            }
        }

        private function endSession(object $sandbox, array $head, Request $request, Response $response, array &$answer): void
        {
            $session = $this->sandbox->session;
            if ($session === null || ! $session->begun) {
                return;
            }
            $changed = $session->hasNewId();
            $brought = $this->keeps($sandbox) && $request->cookies->has($session->getName());
            $gone = $brought && ! $session->known && ! $changed;
            if ($session->isChanged()) {
                $this->addCookieIfNew($sandbox, $session, $response);
                $session->save();
                $this->note($session, $head);
            }
            $answer['head']['session'] = $changed ? 'changed' : ($gone || $session->ended ? 'gone' : 'same');
        }

        private function addCookieIfNew(object $sandbox, Store $session, Response $response): void
        {
            if (! $session->known || $session->hasNewId()) {
                ($this->addCookie)($sandbox->make($this->uses[StartSession::class]), $response, $session);
            }
        }

        /** Whether the driver keeps sessions at all. */
        private function keeps(object $sandbox): bool
        {
            return ! in_array($sandbox['config']->get('session.driver'), ['array', 'null', null], true);
        }

        private function note(Store $session, array $head): void
        {
            $cookie = $head['cookies'][$session->getName()] ?? null;
            is_string($cookie) && $this->touch->note(md5($cookie, true), time());
        }

        /** What is left to do when the answer has gone. */
        public function terminate(object $sandbox, array $head, Request $request, Response $response): void
        {
            guarded(fn () => $this->keepSession($sandbox, $head));
            guarded(static function () use ($sandbox): void {
                $class = Terminating::class;
                $sandbox['events']->hasListeners($class) && class_exists($class) && $sandbox['events']->dispatch(new $class());
            });
            $deferred = 'Illuminate\Foundation\Http\Middleware\InvokeDeferredCallbacks';
            if (isset($this->uses[$deferred]) && $this->sandbox->has($sandbox, 'Illuminate\Support\Defer\DeferredCallbackCollection')) {
                guarded(fn () => $sandbox->make($this->uses[$deferred])->terminate($request, $response));
            }
            guarded(static fn () => $sandbox->terminate());
        }

        /** Once a minute, a session that is used by the socket only is kept from expiring. */
        private function keepSession(object $sandbox, array $head): void
        {
            if (! isset($this->uses[StartSession::class])) {
                return;
            }
            $cookie = $head['cookies'][(string) $sandbox['config']->get('session.cookie')] ?? null;
            if (! is_string($cookie) || ! $this->keeps($sandbox) || ! $this->touch->isDue($key = md5($cookie, true), time())) {
                return;
            }
            $this->touch->note($key, time());
            $session = $sandbox['session']->driver();
            $id = $session->getId();
            Touch::session($session->getHandler(), $id);
            ($this->collectGarbage)($sandbox->make($this->uses[StartSession::class]), $session);
        }
    }
}
