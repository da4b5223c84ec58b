<?php

/*
 * The sandbox: whatever a call does, the next one finds what held after the application's start. Comes over standard
 * input, after connections.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Diffyne\Cluster\BridgeReply;
    use Diffyne\Cluster\Services;
    use Illuminate\Filesystem\Filesystem;
    use Illuminate\Http\Request;
    use Illuminate\Routing\Route;
    use Illuminate\Session\EncryptedStore;
    use Illuminate\Session\SessionManager;
    use Illuminate\Session\Store;
    use Illuminate\Support\Manager;
    use Illuminate\View\Compilers\Compiler;
    use Throwable;

    /** Runs work whose failure must not end the loop. */
    function guarded(callable $work): void
    {
        try {
            $work();
        } catch (Throwable $error) {
            $text = BridgeReply::place($error)['logged'] ?? $error->getMessage();
            fwrite(STDERR, 'after a call'.Application::answeredCall().': '.$error::class.': '.$text."\n");
        }
    }

    /**
     * Calls run one after the other in the container that the application made at its start.
     *
     * After each call, everything is put back: objects and classes by Snapshot, connections by Connections, and the rest
     * of the process by Catalogue.
     */
    final class Sandbox
    {
        /** Services that most calls use. They are made once, before the snapshot. */
        private const WARM = ['config', 'router', 'events', 'encrypter', 'files', 'view', 'view.engine.resolver', 'blade.compiler', 'url', 'translator',
            'validator', 'auth', 'hash', 'cookie', 'db', 'cache', 'log', 'filesystem', 'queue', 'redis', 'session',
            'redirect', \Illuminate\Contracts\Auth\Access\Gate::class, \Illuminate\Contracts\Routing\ResponseFactory::class];

        /** Static properties that may stay: memories of pure functions, which no call can tell from an empty one. */
        private const KEPT = [
            \Illuminate\Support\Str::class => ['$snakeCache', '$camelCache', '$studlyCache'],
        ];

        /** What is put back after a call, in this order, and the methods that do it. Each tells whether it could. */
        private const STEPS = [
            'connections' => 'resetConnections',
            'routes' => 'resetCurrentRoute',
            'session' => 'resetSession',
            'classes' => 'learnClasses',
            'objects' => 'restoreObjects',
            'closures' => 'restoreClosures',
        ];

        /** Calls between two collections of garbage cycles, whose destructors would run in another user's call. */
        private const GARBAGE_INTERVAL = 64;

        private Snapshot $snapshot;

        private Catalogue $catalogue;

        private Connections $connections;

        private bool $octane = false;

        /** The session's handler as the framework has made it. Some handlers remember what they have read. */
        private ?\SessionHandlerInterface $handler = null;

        private Closure $hasInstance;

        private Closure $resetRoute;

        /** @var array{?Store, ?\SessionHandlerInterface} the session and its handler of the application's start */
        private array $sessionAtStart;

        private ?Closure $openSession = null;

        private ?Closure $withoutSession = null;

        private int $calls = 0;

        /** The session of all calls, one after the other; null where it cannot be opened at first use. */
        public ?Store $session = null;

        /** @var ?array{kind: string, component: string} what the last call has left behind that cannot be put back */
        private ?array $lost = null;

        /** To be made before the application boots. */
        public function __construct(private object $app)
        {
            $this->prepareSessions();
            $this->hasInstance = Closure::bind(static fn ($container, $name) => isset($container->instances[$name]), null, \Illuminate\Container\Container::class);
            $this->resetRoute = Closure::bind(static function (Route $route): void {
                [$route->controller, $route->parameters, $route->originalParameters] = [null, null, null];
            }, null, Route::class);
        }

        /** Makes what most calls use, in the booted application. */
        public function warm(): void
        {
            foreach (self::WARM as $name) {
                guarded(fn () => $this->app->bound($name) && $this->app->make($name));
            }
            foreach ([\Diffyne\VirtualDOM\Renderer::class, \Diffyne\State\ComponentHydrator::class] as $name) {
                guarded(fn () => $this->app->isShared($name) && $this->app->make($name));
            }
            guarded(fn () => $this->app->make('view.engine.resolver')->resolve('blade'));
            guarded(fn () => $this->invalidateCompiledViews($this->app->make('blade.compiler')));
            // Octane's listeners, which an application may have, reset services that they know of.
            $this->octane = class_exists('Laravel\Octane\Events\RequestReceived');
        }

        /** Takes everything down. From here on, only calls change anything. */
        public function seal(): void
        {
            while (ob_get_level() > 0) {
                ob_end_clean();
            }
            $take = static fn (object $object): Closure => Snapshot::ofObject($object, Connections::KEPT);
            $this->sessionAtStart = [$this->session, $this->handler];
            $this->connections = new Connections($this->app, $take);
            $this->snapshot = new Snapshot($this->app, $this->app->basePath(), Connections::KEPT + self::KEPT);
            $this->snapshot->isComplete() || fwrite(STDERR, "the application holds too many objects: some are shared by calls\n");
            SourceFiles::expectEncoded();
            SourceFiles::learn();
            new ClassLoading($this->snapshot);
            $this->catalogue = new Catalogue();
            gc_collect_cycles();
        }

        /** A view that was compiled anew is run at once, however opcache looks at files. */
        private function invalidateCompiledViews(object $compiler): void
        {
            if (! $compiler instanceof Compiler || ! function_exists('opcache_invalidate')) {
                return;
            }
            Closure::bind(static function (Compiler $compiler): void {
                if ($compiler->files::class !== Filesystem::class) {
                    return;
                }
                $compiler->files = new class () extends Filesystem {
                    public function put($path, $contents, $lock = false)
                    {
                        $written = parent::put($path, $contents, $lock);
                        @opcache_invalidate($path, true);

                        return $written;
                    }

                    public function replace($path, $content, $mode = null)
                    {
                        parent::replace($path, $content, $mode);
                        @opcache_invalidate($path, true);
                    }
                };
            }, null, Compiler::class)($compiler);
        }

        /**
         * Has the framework's session opened at its first use. To be called before the application boots: providers that
         * keep the store keep the one that all calls use, each with its own content.
         */
        private function prepareSessions(): void
        {
            $replace = Closure::bind(static function ($manager, $name, $store): void {
                $manager->drivers = [$name => $store];
            }, null, Manager::class);
            $this->app->extend('session', function (object $manager) use ($replace): object {
                if (! $manager instanceof SessionManager || ($name = $manager->getDefaultDriver()) === null) {
                    return $manager;
                }
                $store = $manager->driver();
                $lazyClass = match ($store::class) {
                    Store::class => PlainSession::class,
                    EncryptedStore::class => EncryptedSession::class,
                    default => null,
                };
                if ($lazyClass !== null) {
                    $replace($manager, $name, $this->session = $lazyClass::replacing($store));
                    $this->handler = $store->getHandler();
                }

                return $manager;
            });
        }

        private static function open(Store $store, Request $request): void
        {
            $store->setId($request->cookies->get($store->getName()));
            $store->setRequestOnHandler($request);
            $store->start();
            \Diffyne\Cluster\CallSession::check($store, $request);
        }

        /** Whether the application has made a service. */
        public function isResolved(string $name): bool
        {
            return ($this->hasInstance)($this->app, $name);
        }

        /** Whether sessions can be opened at first use. */
        public function supportsLazySessions(): bool
        {
            return $this->session !== null;
        }

        /** Begins a call. */
        public function enter(bool $lazySession): void
        {
            if ($this->session !== null) {
                $app = $this->app;
                $this->session->setHandler(clone $this->handler);
                $this->openSession = $lazySession ? static fn (Store $store) => self::open($store, $app['request']) : null;
                $this->session->reset($this->openSession);
            }
            ShutdownFunctions::beginCall();
            ob_start();
        }

        /** Whether Octane's listeners hear of requests. */
        public function hasListeners(): bool
        {
            return $this->octane;
        }

        /** Tells Octane's listeners, where the application has them, that a request begins. */
        public function requestReceived(Request $request): void
        {
            if ($this->octane) {
                $class = 'Laravel\Octane\Events\RequestReceived';
                // Such a listener empties the session of the request before, which must not be this user's.
                $this->session?->reset(null);
                $this->app['events']->dispatch(new $class($this->app, $this->app, $request));
                $this->session?->reset($this->openSession);
            }
        }

        /** Tells Octane's listeners that the request has ended. */
        public function requestTerminated(Request $request, object $response): void
        {
            if ($this->octane) {
                $class = 'Laravel\Octane\Events\RequestTerminated';
                guarded(fn () => $this->app['events']->dispatch(new $class($this->app, $this->app, $request, $response)));
            }
        }

        /** Runs what the call has registered to be run at its end. */
        public function shutDown(): void
        {
            ShutdownFunctions::run(function (Throwable $error): void {
                guarded(fn () => $this->app->make(\Illuminate\Contracts\Debug\ExceptionHandler::class)->report($error));
            });
        }

        /** Ends a call of this component: puts back whatever it has changed. */
        public function leave(string $component): void
        {
            // Destructors of garbage may use the connections.
            ++$this->calls % self::GARBAGE_INTERVAL === 0 && guarded(static fn () => gc_collect_cycles());
            $kind = null;
            foreach (self::STEPS as $step => $method) {
                try {
                    $this->{$method}() || $kind ??= $step;
                } catch (Throwable $error) {
                    // It ends the process after its call, and not the loop.
                    fwrite(STDERR, 'after a call: '.$error::class.': '.(BridgeReply::place($error)['logged'] ?? $error->getMessage())."\n");
                    $kind ??= $step;
                }
            }
            $kind = $this->catalogue->restore() ?? $kind;
            $this->lost = $kind === null ? null : ['kind' => $kind, 'component' => $component];
        }

        private function resetConnections(): bool
        {
            return $this->connections->reset();
        }

        private function resetCurrentRoute(): bool
        {
            $route = Services::get('router')->current();
            $route === null || ($this->resetRoute)($route);

            return true;
        }

        private function learnClasses(): bool
        {
            $this->snapshot->learnClasses() && SourceFiles::learn();

            return true;
        }

        private function restoreObjects(): bool
        {
            return $this->snapshot->restore();
        }

        private function restoreClosures(): bool
        {
            return $this->snapshot->restoreClosures();
        }

        private function resetSession(): bool
        {
            // It gets a random identifier only if somebody asks for it before the next call.
            $this->withoutSession ??= static fn (Store $store) => $store->setId(null);
            $this->session?->reset($this->withoutSession);
            // A call may have made the service once more.
            if ($this->session !== $this->sessionAtStart[0]) {
                [$this->session, $this->handler] = $this->sessionAtStart;
                $this->session?->reset($this->withoutSession);
            }

            return true;
        }

        /**
         * What the last call has left behind that cannot be put back; null when the process is clean.
         *
         * @return ?array{kind: string, component: string}
         */
        public function replaceReason(): ?array
        {
            return $this->lost;
        }
    }
}
