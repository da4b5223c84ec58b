<?php

/*
 * What a process of the php backend runs: boots the application once, and then one call after the other, over a
 * socket of its own (descriptor 3). Comes over standard input, after bridge.php.
 *
 * A frame is two lengths (32 bits, big endian), a JSON head and a body.
 */

namespace Diffyne\Cluster\Loop {

    use Diffyne\Cluster\Bridge;
    use Illuminate\Container\Container;
    use Illuminate\Contracts\Debug\ExceptionHandler;
    use Illuminate\Contracts\Http\Kernel;
    use Illuminate\Http\Request;
    use Illuminate\Support\Facades\Facade;
    use Throwable;

    /** The way to the worker. */
    final class Channel
    {
        /** @var resource */
        private $socket;

        public function __construct()
        {
            $this->socket = fopen('php://fd/3', 'r+b');
            stream_set_read_buffer($this->socket, 0);
            stream_set_write_buffer($this->socket, 0);
        }

        public function read(): ?array
        {
            $lengths = $this->bytes(8);
            if ($lengths === null) {
                return null;
            }
            [, $head, $body] = unpack('N2', $lengths);

            return [json_decode($this->bytes($head), true), $body > 0 ? $this->bytes($body) : ''];
        }

        public function write(array $head, string $body = ''): void
        {
            $head = json_encode($head, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
            $rest = pack('N2', strlen($head), strlen($body)).$head.$body;
            while ($rest !== '') {
                $written = @fwrite($this->socket, $rest);
                if ($written === false || $written === 0) {
                    exit(1);
                }
                $rest = substr($rest, $written);
            }
        }

        private function bytes(int $count): ?string
        {
            $bytes = '';
            while (strlen($bytes) < $count) {
                $read = @fread($this->socket, $count - strlen($bytes));
                if ($read === false || $read === '') {
                    return null;
                }
                $bytes .= $read;
            }

            return $bytes;
        }
    }

    /** One application, used by one call after the other, none of which may see the others. */
    final class Application
    {
        private object $app;

        private Kernel $kernel;

        private Bridge $bridge;

        private array $server;

        private array $environment;

        private string $directory;

        private string $timeZone;

        private int $reporting;

        public function __construct(string $directory)
        {
            chdir($directory);
            foreach (["$directory/vendor/autoload.php", "$directory/bootstrap/app.php"] as $file) {
                if (! is_file($file)) {
                    throw new \RuntimeException("$file is missing: is this a Laravel application with its packages installed?");
                }
            }
            require "$directory/vendor/autoload.php";
            $this->app = require "$directory/bootstrap/app.php";
            $this->kernel = $this->app->make(Kernel::class);
            // Services that are made before the first call want to know one.
            $this->app->instance('request', Request::create('http://localhost/'));
            $this->kernel->bootstrap();
            $this->bridge = new Bridge();
            $this->bridge->register($this->app);
            if (! class_exists(\Diffyne\Component::class)) {
                throw new \RuntimeException("the application in $directory has no Diffyne package");
            }
            // What every call begins with; resolved once, here.
            foreach (['config', 'router', 'view', 'url', 'events', 'translator', 'validator', 'encrypter', 'db'] as $name) {
                $this->app->bound($name) && $this->app->make($name);
            }
            [$this->server, $this->environment] = [$_SERVER, $_ENV];
            $this->directory = getcwd();
            $this->timeZone = date_default_timezone_get();
            $this->reporting = error_reporting();
        }

        public function version(): string
        {
            return $this->app->version();
        }

        /** Runs a call; $answer gets it before anything is tidied up. */
        public function run(array $head, string $payload, callable $answer): void
        {
            $sandbox = $this->enter();
            $request = self::request($head, $payload);
            $this->bridge->answer = null;
            $response = null;
            try {
                $response = $this->kernel->handle($request);
                $result = $this->bridge->answer ?? self::unexpected($response);
                foreach ($response->headers->getCookies() as $cookie) {
                    $result['head']['set_cookie'][] = (string) $cookie;
                }
            } catch (Throwable $error) {
                $result = self::broken($error);
            }
            $answer($result);
            self::guarded(fn () => $response && $this->kernel->terminate($request, $response));
            $this->leave($sandbox);
        }

        /** The framework answered instead of the bridge: a redirect, a refusal, an error page. */
        private static function unexpected(object $response): array
        {
            $head = ['outcome' => 'refused', 'status' => $response->getStatusCode(), 'error' => ''];

            return ['head' => $head, 'body' => ''];
        }

        private static function broken(Throwable $error): array
        {
            $head = ['outcome' => 'exception', 'error' => $error->getMessage(), 'exception' => $error::class];

            return ['head' => $head + ['file' => $error->getFile(), 'line' => $error->getLine()], 'body' => ''];
        }

        private static function guarded(callable $work): void
        {
            try {
                $work();
            } catch (Throwable $error) {
                fwrite(STDERR, 'after a call: '.$error::class.': '.$error->getMessage()."\n");
            }
        }

        private static function request(array $head, string $payload): Request
        {
            $secure = ($head['scheme'] ?? 'http') === 'https';
            $server = [
                'HTTP_ACCEPT' => 'application/json',
                'HTTP_X_REQUESTED_WITH' => 'XMLHttpRequest',
                'HTTP_SEC_FETCH_SITE' => 'same-origin',
                // Symfony makes these up where they are missing.
                'HTTP_USER_AGENT' => '',
                'HTTP_ACCEPT_LANGUAGE' => '',
                'REMOTE_ADDR' => $head['ip'] ?? '127.0.0.1',
            ];
            foreach ($head['headers'] ?? [] as [$name, $value]) {
                $server['HTTP_'.strtoupper(strtr($name, '-', '_'))] = $value;
            }
            $uri = ($secure ? 'https' : 'http').'://'.($head['host'] ?? 'localhost').'/'.Bridge::PATH;
            $request = Request::create($uri, Bridge::VERB, [], $head['cookies'] ?? [], [], $server);
            $request->attributes->set('diffyne.call', ['head' => $head, 'payload' => $payload]);

            return $request;
        }

        /** A container for one call: what it resolves and changes ends with it. */
        private function enter(): object
        {
            $sandbox = clone $this->app;
            self::makeCurrent($sandbox);
            $sandbox->instance('config', clone $this->app['config']);
            $sandbox->forgetScopedInstances();
            // Made anew in the sandbox, by the bindings that the application has.
            foreach (['auth', 'auth.driver', 'auth.password', 'session', 'session.store', 'cookie', 'redirect', 'request',
                \Illuminate\Session\Middleware\StartSession::class] as $name) {
                $sandbox->forgetInstance($name);
            }
            // What the application has added to them at its start stays; what a call adds does not.
            foreach (['url', 'view', 'translator', 'validator', 'events', \Illuminate\Contracts\Auth\Access\Gate::class] as $name) {
                if ($this->app->resolved($name)) {
                    $copy = clone $this->app->make($name);
                    $sandbox->instance($name, $copy);
                    self::giveContainer($copy, $sandbox);
                }
            }
            $sandbox->resolved('view') && $sandbox['view']->share('app', $sandbox);
            foreach (['router', 'cache', 'db', 'filesystem', 'log', 'mail.manager', 'queue', \Illuminate\Contracts\Broadcasting\Factory::class,
                \Illuminate\Notifications\ChannelManager::class, \Illuminate\Contracts\Pipeline\Hub::class] as $name) {
                $this->app->resolved($name) && self::giveContainer($this->app->make($name), $sandbox);
            }
            $this->kernel->setApplication($sandbox);
            ob_start();

            return $sandbox;
        }

        private static function giveContainer(object $service, object $container): void
        {
            foreach (['setApplication', 'setContainer'] as $setter) {
                if (method_exists($service, $setter)) {
                    $service->{$setter}($container);

                    return;
                }
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

        private function leave(object $sandbox): void
        {
            self::guarded(static function () use ($sandbox): void {
                if (! $sandbox->resolved('db')) {
                    return;
                }
                foreach ($sandbox['db']->getConnections() as $connection) {
                    while ($connection->transactionLevel() > 0) {
                        $connection->rollBack();
                    }
                }
            });
            self::guarded(static function (): void {
                $output = '';
                while (ob_get_level() > 0) {
                    $output = ob_get_clean().$output;
                }
                if ($output !== '') {
                    fwrite(STDERR, strlen($output).' bytes of output in a call went nowhere: '.substr($output, 0, 300)."\n");
                }
            });
            self::guarded(fn () => $sandbox->flush());
            self::guarded(function (): void {
                [$_SERVER, $_ENV, $_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST] = [$this->server, $this->environment, [], [], [], [], []];
                self::makeCurrent($this->app);
                $this->kernel->setApplication($this->app);
                self::giveContainer($this->app['router'], $this->app);
                date_default_timezone_set($this->timeZone);
                error_reporting($this->reporting);
                chdir($this->directory);
                setlocale(LC_ALL, 'C');
                mb_internal_encoding('UTF-8');
                if (class_exists(\Carbon\Carbon::class, false)) {
                    \Carbon\Carbon::setTestNow();
                    \Carbon\Carbon::setLocale($this->app['config']->get('app.locale', 'en'));
                }
                if (class_exists(\Illuminate\Database\Eloquent\Model::class, false)) {
                    \Illuminate\Database\Eloquent\Model::reguard();
                }
                error_clear_last();
            });
        }
    }

    (static function (): void {
        $channel = new Channel();
        [$start] = $channel->read();
        $running = false;
        // exit, die, dd, a fatal error: the worker is told which call that was, and starts another process.
        register_shutdown_function(static function () use ($channel, &$running): void {
            if ($running) {
                $error = error_get_last();
                $text = $error === null ? 'the call ended the process (exit, die or dd)' : $error['message'];
                $channel->write(['type' => 'answer', 'outcome' => 'exit', 'error' => $text, 'file' => $error['file'] ?? '', 'line' => $error['line'] ?? 0]);
            }
        });
        foreach ($start['environment'] as [$name, $value]) {
            putenv("$name=$value");
            $_ENV[$name] = $_SERVER[$name] = $value;
        }
        try {
            $application = new Application($start['directory']);
        } catch (Throwable $error) {
            $text = $error::class.': '.$error->getMessage().' in '.$error->getFile().':'.$error->getLine();
            $channel->write(['type' => 'failed', 'error' => $text]);
            exit(1);
        }
        while (ob_get_level() > 0) {
            ob_end_clean();
        }
        $channel->write(['type' => 'ready', 'php' => PHP_VERSION, 'laravel' => $application->version()]);
        while (($call = $channel->read()) !== null) {
            [$head, $payload] = $call;
            error_clear_last();
            $running = true;
            $application->run($head, $payload, static function (array $answer) use ($channel, &$running): void {
                $running = false;
                $channel->write(['type' => 'answer'] + $answer['head'], $answer['body']);
            });
            $channel->write(['type' => 'idle', 'memory' => memory_get_usage(true)]);
        }
    })();
}
