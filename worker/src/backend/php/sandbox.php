<?php

/*
 * A container for each call: what the call resolves and changes ends with it. Comes over standard input, after
 * session.php.
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

    /** Runs work that may fail without ending the loop. */
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
        /** Made anew in each sandbox, by the bindings that the application has. */
        private const MADE_ANEW = ['auth.driver', 'auth.password', 'session', 'session.store', 'cookie', 'redirect',
            \Illuminate\Session\Middleware\StartSession::class, \Illuminate\Contracts\Routing\ResponseFactory::class];

        /** What the application has added to these at its start stays; what a call adds does not. */
        private const COPIED = ['url', 'view', 'translator', 'validator', 'events', Gate::class, 'blade.compiler'];

        /** These are told whose container counts. */
        private const TOLD = ['auth', 'router', 'cache', 'db', 'filesystem', 'log', 'mail.manager', 'queue', 'hash',
            \Illuminate\Contracts\Broadcasting\Factory::class, \Illuminate\Notifications\ChannelManager::class,
            \Illuminate\Contracts\Pipeline\Hub::class];

        private object $app;

        /** @var array<string, object> */
        private array $copied = [];

        /** @var array<array{object, string}> services and their setters */
        private array $told = [];

        private bool $octane;

        private ?object $database = null;

        private array $server;

        private array $environment;

        private string $directory;

        private string $timeZone;

        private int $reporting;

        private string $carbonLocale = 'en';

        private Closure $has;

        private Closure $giveDispatcher;

        /** Whether the session begins at first use, in the call that runs. */
        private bool $lazy = false;

        /** The session of the call that runs, once somebody has asked for it. */
        public ?Store $session = null;

        public function __construct(object $app)
        {
            $this->app = $app;
            // What every call begins with; resolved once, here.
            foreach (['config', 'router', 'view', 'url', 'events', 'translator', 'validator', 'encrypter', 'db', 'auth', 'hash'] as $name) {
                $app->bound($name) && $app->make($name);
            }
            $app->bound('session') && $this->followSessions();
            foreach (self::COPIED as $name) {
                $app->resolved($name) && $this->copied[$name] = $app->make($name);
            }
            foreach (self::TOLD as $name) {
                $service = $app->resolved($name) ? $app->make($name) : null;
                foreach (['setApplication', 'setContainer'] as $setter) {
                    if ($service !== null && method_exists($service, $setter)) {
                        $this->told[] = [$service, $setter];
                        break;
                    }
                }
            }
            $this->database = $app->resolved('db') ? $app->make('db') : null;
            // Its listeners reset what they know of; they are registered with the application's events.
            $this->octane = class_exists('Laravel\Octane\Events\RequestReceived');
            $this->has = Closure::bind(static fn ($container, $name) => isset($container->instances[$name]), null, Container::class);
            $this->giveDispatcher = Closure::bind(static function ($dispatcher, $container): void {
                $dispatcher->container = $container;
            }, null, Dispatcher::class);
            [$this->server, $this->environment] = [$_SERVER, $_ENV];
            $this->directory = getcwd();
            $this->timeZone = date_default_timezone_get();
            $this->reporting = error_reporting();
            $this->carbonLocale = (string) $app['config']->get('app.locale', 'en');
        }

        /** From now on, sessions are ours: as the application has set them up, and aware of their use. */
        private function followSessions(): void
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
                $ours = match ($store === null ? '' : $store::class) {
                    Store::class => PlainSession::class,
                    EncryptedStore::class => EncryptedSession::class,
                    default => null,
                };
                if ($ours !== null) {
                    $this->session = $ours::over($store, $this->lazy ? static fn (Store $store) => self::begin($store, $app['request']) : null);
                    $replace($manager, $name, $this->session);
                }

                return $manager;
            });
        }

        private static function begin(Store $store, Request $request): void
        {
            $store->setId($request->cookies->get($store->getName()));
            $store->setRequestOnHandler($request);
            $store->start();
        }

        /** Whether a container has made this, and not only knows how to. */
        public function has(object $container, string $name): bool
        {
            return ($this->has)($container, $name);
        }

        /** Whether sessions can begin at first use. */
        public function followsSessions(): bool
        {
            $sandbox = $this->enter(false);
            guarded(static fn () => $sandbox->bound('session') && $sandbox->make('session'));
            $follows = $this->session !== null;
            $this->leave($sandbox);

            return $follows;
        }

        /** A container for one call. */
        public function enter(bool $lazy): object
        {
            [$this->lazy, $this->session] = [$lazy, null];
            $sandbox = clone $this->app;
            self::makeCurrent($sandbox);
            $sandbox->instance('config', clone $this->app['config']);
            $sandbox->forgetScopedInstances();
            foreach (self::MADE_ANEW as $name) {
                $sandbox->forgetInstance($name);
            }
            foreach ($this->copied as $name => $original) {
                $copy = clone $original;
                match ($name) {
                    'events' => $copy instanceof Dispatcher && ($this->giveDispatcher)($copy, $sandbox),
                    'url' => $copy->setSessionResolver(static fn () => $sandbox['session'] ?? null),
                    'view' => [$copy->setContainer($sandbox), $copy->share('app', $sandbox)],
                    'validator', Gate::class => method_exists($copy, 'setContainer') && $copy->setContainer($sandbox),
                    default => null,
                };
                $sandbox->instance($name, $copy);
            }
            foreach ($this->told as [$service, $setter]) {
                $service->{$setter}($sandbox);
            }
            $this->has($sandbox, 'auth') && $sandbox['auth']->forgetGuards();
            ob_start();

            return $sandbox;
        }

        /** The request is known: Octane's own listeners, where the application has them, reset what they know of. */
        public function received(object $sandbox, Request $request): void
        {
            if ($this->octane) {
                $class = 'Laravel\Octane\Events\RequestReceived';
                $sandbox['events']->dispatch(new $class($this->app, $sandbox, $request));
            }
        }

        public function terminated(object $sandbox, Request $request, object $response): void
        {
            if ($this->octane) {
                $class = 'Laravel\Octane\Events\RequestTerminated';
                guarded(fn () => $sandbox['events']->dispatch(new $class($this->app, $sandbox, $request, $response)));
            }
        }

        private static function makeCurrent(object $app): void
        {
            $app->instance('app', $app);
            $app->instance(Container::class, $app);
            Container::setInstance($app);
            Facade::clearResolvedInstances();
            Facade::setFacadeApplication($app);
        }

        /** Ends a call: nothing of it is left that another could see. */
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
            guarded(function (): void {
                [$_SERVER, $_ENV, $_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST] = [$this->server, $this->environment, [], [], [], [], []];
                self::makeCurrent($this->app);
                foreach ($this->told as [$service, $setter]) {
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
            });
        }
    }
}
