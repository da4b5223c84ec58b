<?php

/*
 * What the framework does before and after each request, where it costs less to do it another way: which proxies are
 * trusted, and the application's own work at the end. Comes over standard input, before fast_path.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Illuminate\Foundation\Application as LaravelApplication;
    use Illuminate\Http\Request;
    use ReflectionFunction;
    use ReflectionMethod;
    use ReflectionProperty;
    use Symfony\Component\HttpFoundation\Request as SymfonyRequest;
    use WeakMap;

    /**
     * Has the framework's middleware set which proxies are trusted, once for each host that pages are at: only of the host
     * and the client's address it can depend, besides configuration, which is the same for all calls.
     */
    final class TrustedProxies
    {
        /** Clients may send any number. */
        private const HOSTS_MAX = 64;

        /** @var array<string, array{list<string>, int}> what the middleware has set, by host */
        private array $known = [];

        /** Reads and writes what is set. */
        private ?Closure $read = null;

        private Closure $write;

        public function __construct(private object $middleware)
        {
            foreach (['trustedProxies', 'trustedHeaderSet'] as $name) {
                if (! property_exists(SymfonyRequest::class, $name) || ! (new ReflectionProperty(SymfonyRequest::class, $name))->isStatic()) {
                    return;
                }
            }
            $this->read = Closure::bind(static fn (): array => [self::$trustedProxies, self::$trustedHeaderSet], null, SymfonyRequest::class);
            $this->write = Closure::bind(static function (array $set): void {
                [self::$trustedProxies, self::$trustedHeaderSet] = $set;
            }, null, SymfonyRequest::class);
        }

        /** Lets what most calls get hold from the application's start on. */
        public function prime(): void
        {
            guarded(fn () => $this->trust(Request::create('http://localhost/')));
        }

        public function trust(Request $request): void
        {
            $host = $request->server->get('HTTP_HOST');
            if (isset($this->known[$host])) {
                ($this->write)($this->known[$host]);

                return;
            }
            $this->middleware->handle($request, static fn () => null);
            $set = $this->read === null ? null : ($this->read)();
            // Where it trusts whoever has connected, each client has a list of its own.
            if ($set !== null && ! in_array($request->server->get('REMOTE_ADDR'), $set[0], true)) {
                count($this->known) < self::HOSTS_MAX || $this->known = [];
                $this->known[$host] = $set;
            }
        }
    }

    /** Runs what the application and its packages do at the end of a request. */
    final class Termination
    {
        /** The callbacks; null where the application ends requests in a way of its own. */
        private ?Closure $callbacks = null;

        /** @var WeakMap<Closure, bool> whether a callback takes no parameters */
        private WeakMap $isPlain;

        public function __construct(private object $app)
        {
            $this->isPlain = new WeakMap();
            foreach (['terminate', 'call'] as $method) {
                $class = (new ReflectionMethod($app, $method))->getDeclaringClass()->getName();
                if (! str_starts_with($class, 'Illuminate\\') || ! property_exists(LaravelApplication::class, 'terminatingCallbacks')) {
                    return;
                }
            }
            $this->callbacks = Closure::bind(static fn (): array => $app->terminatingCallbacks, null, LaravelApplication::class);
        }

        /** As the application's terminate(), which looks at the parameters of each callback anew. */
        public function run(): void
        {
            if ($this->callbacks === null) {
                $this->app->terminate();

                return;
            }
            // One may add others.
            for ($index = 0; $index < count($callbacks = ($this->callbacks)()); $index++) {
                $callback = $callbacks[$index];
                $callback instanceof Closure && $this->isPlain($callback) ? $callback() : $this->app->call($callback);
            }
        }

        private function isPlain(Closure $callback): bool
        {
            return $this->isPlain[$callback] ??= (new ReflectionFunction($callback))->getNumberOfParameters() === 0;
        }
    }
}
