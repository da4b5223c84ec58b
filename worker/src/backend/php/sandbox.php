<?php

/*
 * A container for each call: everything that a call resolves and changes is dropped with it. Comes over standard
 * input, after the bridge.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Illuminate\Container\Container;
    use Illuminate\Contracts\Auth\Access\Gate;
    use Illuminate\Events\Dispatcher;
    use Illuminate\Http\Request;
    use Illuminate\Session\EncryptedStore;
    use Illuminate\Session\SessionManager;
    use Illuminate\Session\Store;
    use Illuminate\Support\Facades\Facade;
    use Illuminate\Support\Manager;
    use Throwable;

    /** Runs work whose failure must not end the loop. */
    function guarded(callable $work): void
    {
        try {
            $work();
        } catch (Throwable $error) {
            fwrite(STDERR, 'after a call: '.$error::class.': '.$error->getMessage()."\n");
        }
    }

    final class Sandbox
    {
        /** Services that each sandbox makes again from the application's bindings. */
        private const REBUILT = ['auth.driver', 'auth.password', 'session', 'session.store', 'cookie', 'redirect',
            \Illuminate\Session\Middleware\StartSession::class, \Illuminate\Contracts\Routing\ResponseFactory::class];

        /** Services that each sandbox clones: what the application added at its start stays, what a call adds does not. */
        private const CLONED = ['url', 'view', 'translator', 'validator', 'events', Gate::class, 'blade.compiler'];

        /** Services that all calls share, which get the sandbox as their container. */
        private const REBOUND = ['auth', 'router', 'cache', 'db', 'filesystem', 'log', 'mail.manager', 'queue', 'hash',
            \Illuminate\Contracts\Broadcasting\Factory::class, \Illuminate\Notifications\ChannelManager::class,
            \Illuminate\Contracts\Pipeline\Hub::class];

        private object $app;

        /** @var array<string, object> */
        private array $cloned = [];

        /** @var array<array{object, string}> services and their setters */
        private array $rebound = [];

        private bool $octane;

        private ?object $database = null;

        private array $server;

        private array $environment;

        private string $directory;

        private string $timeZone;

        private int $reporting;

        private string $carbonLocale = 'en';

        private Closure $hasInstance;

        private Closure $setContainerOfEvents;

        /** Whether the current call opens its session at first use. */
        private bool $lazySession = false;

        /** The current call's session, once somebody has asked for it. */
        public ?Store $session = null;

        public function __construct(object $app)
        {
            $this->app = $app;
            // Services that every call uses are resolved once, here.
            foreach (['config', 'router', 'view', 'url', 'events', 'translator', 'validator', 'encrypter', 'db', 'auth', 'hash'] as $name) {
                $app->bound($name) && $app->make($name);
            }
            $app->bound('session') && $this->wrapSessions();
            foreach (self::CLONED as $name) {
                $app->resolved($name) && $this->cloned[$name] = $app->make($name);
            }
            foreach (self::REBOUND as $name) {
                $service = $app->resolved($name) ? $app->make($name) : null;
                foreach (['setApplication', 'setContainer'] as $setter) {
                    if ($service !== null && method_exists($service, $setter)) {
                        $this->rebound[] = [$service, $setter];
                        break;
                    }
                }
            }
            $this->database = $app->resolved('db') ? $app->make('db') : null;
            // Octane's listeners, which an application may have, reset services that they know of.
            $this->octane = class_exists('Laravel\Octane\Events\RequestReceived');
            $this->hasInstance = Closure::bind(static fn ($container, $name) => isset($container->instances[$name]), null, Container::class);
            $this->setContainerOfEvents = Closure::bind(static function ($dispatcher, $container): void {
                $dispatcher->container = $container;
            }, null, Dispatcher::class);
            [$this->server, $this->environment] = [$_SERVER, $_ENV];
            $this->directory = getcwd();
            $this->timeZone = date_default_timezone_get();
            $this->reporting = error_reporting();
            $this->carbonLocale = (string) $app['config']->get('app.locale', 'en');
        }

        /** Replaces the framework's sessions by lazy ones with the same configuration. */
        private function wrapSessions(): void
        {
            $original = $this->app->make('session');
            if (! $original instanceof SessionManager) {
                return;
            }
            $renew = Closure::bind(static function ($manager, $app): void {
                [$manager->container, $manager->config, $manager->drivers] = [$app, $app['config'], []];
            }, null, Manager::class);
            $replace = Closure::bind(static function ($manager, $name, $store): void {
                $manager->drivers[$name] = $store;
            }, null, Manager::class);
            $this->app->forgetExtenders('session');
            $this->app->singleton('session', function ($app) use ($original, $renew, $replace) {
                $manager = clone $original;
                $renew($manager, $app);
                $name = $manager->getDefaultDriver();
                $store = $name === null ? null : $manager->driver();
                $lazyClass = match ($store === null ? '' : $store::class) {
                    Store::class => PlainSession::class,
                    EncryptedStore::class => EncryptedSession::class,
                    default => null,
                };
                if ($lazyClass !== null) {
                    $this->session = $lazyClass::replacing($store, $this->lazySession ? static fn (Store $store) => self::open($store, $app['request']) : null);
                    $replace($manager, $name, $this->session);
                }

                return $manager;
            });
        }

        private static function open(Store $store, Request $request): void
        {
            $store->setId($request->cookies->get($store->getName()));
            $store->setRequestOnHandler($request);
            $store->start();
            \Diffyne\Cluster\Bridge::checkSession($store, $request);
        }

        /** Whether a container has already made a service. */
        public function isResolved(object $container, string $name): bool
        {
            return ($this->hasInstance)($container, $name);
        }

        /** Whether sessions can be opened at first use. */
        public function supportsLazySessions(): bool
        {
            $sandbox = $this->enter(false);
            guarded(static fn () => $sandbox->bound('session') && $sandbox->make('session'));
            $isLazy = $this->session !== null;
            $this->leave($sandbox);

            return $isLazy;
        }

        /** Makes the container for one call. */
        public function enter(bool $lazySession): object
        {
            [$this->lazySession, $this->session] = [$lazySession, null];
            $sandbox = clone $this->app;
            self::setCurrent($sandbox);
            $sandbox->instance('config', clone $this->app['config']);
            $sandbox->forgetScopedInstances();
            foreach (self::REBUILT as $name) {
                $sandbox->forgetInstance($name);
            }
            foreach ($this->cloned as $name => $original) {
                $copy = clone $original;
                match ($name) {
                    'events' => $copy instanceof Dispatcher && ($this->setContainerOfEvents)($copy, $sandbox),
                    'url' => $copy->setSessionResolver(static fn () => $sandbox['session'] ?? null),
                    'view' => [$copy->setContainer($sandbox), $copy->share('app', $sandbox), $copy->share('__env', $copy)],
                    'validator', Gate::class => method_exists($copy, 'setContainer') && $copy->setContainer($sandbox),
                    default => null,
                };
                $sandbox->instance($name, $copy);
            }
            foreach ($this->rebound as [$service, $setter]) {
                $service->{$setter}($sandbox);
            }
            $this->isResolved($sandbox, 'auth') && $sandbox['auth']->forgetGuards();
            class_exists(\Illuminate\View\Component::class, false) && \Illuminate\View\Component::forgetFactory();
            ob_start();

            return $sandbox;
        }

        /** Tells Octane's listeners, where the application has them, that a request begins. */
        public function requestReceived(object $sandbox, Request $request): void
        {
            if ($this->octane) {
                $class = 'Laravel\Octane\Events\RequestReceived';
                $sandbox['events']->dispatch(new $class($this->app, $sandbox, $request));
            }
        }

        /** Tells Octane's listeners that the request has ended. */
        public function requestTerminated(object $sandbox, Request $request, object $response): void
        {
            if ($this->octane) {
                $class = 'Laravel\Octane\Events\RequestTerminated';
                guarded(fn () => $sandbox['events']->dispatch(new $class($this->app, $sandbox, $request, $response)));
            }
        }

        private static function setCurrent(object $app): void
        {
            $app->instance('app', $app);
            $app->instance(Container::class, $app);
            Container::setInstance($app);
            Facade::clearResolvedInstances();
            Facade::setFacadeApplication($app);
        }

        /** Ends a call, and resets what the next call could see of it. */
        public function leave(object $sandbox): void
        {
            guarded(function (): void {
                foreach ($this->database?->getConnections() ?? [] as $connection) {
                    while ($connection->transactionLevel() > 0) {
                        $connection->rollBack();
                    }
                }
            });
            guarded(static function (): void {
                $output = '';
                while (ob_get_level() > 0) {
                    $output = ob_get_clean().$output;
                }
                if ($output !== '') {
                    fwrite(STDERR, strlen($output).' bytes of output in a call went nowhere: '.substr($output, 0, 300)."\n");
                }
            });
            guarded(static fn () => $sandbox->flush());
            $this->session = null;
            guarded(fn () => $this->resetProcess());
        }

        /** Resets what a call may have changed outside its container. */
        private function resetProcess(): void
        {
            [$_SERVER, $_ENV, $_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST] = [$this->server, $this->environment, [], [], [], [], []];
            self::setCurrent($this->app);
            foreach ($this->rebound as [$service, $setter]) {
                $service->{$setter}($this->app);
            }
            date_default_timezone_get() !== $this->timeZone && date_default_timezone_set($this->timeZone);
            error_reporting($this->reporting);
            getcwd() !== $this->directory && chdir($this->directory);
            setlocale(LC_ALL, 'C');
            mb_internal_encoding('UTF-8');
            if (class_exists(\Carbon\Carbon::class, false)) {
                \Carbon\Carbon::setTestNow();
                \Carbon\Carbon::getLocale() !== $this->carbonLocale && \Carbon\Carbon::setLocale($this->carbonLocale);
            }
            if (class_exists(\Illuminate\Database\Eloquent\Model::class, false)) {
                \Illuminate\Database\Eloquent\Model::reguard();
            }
            error_clear_last();
        }
    }
}
