<?php

/*
 * What a process of the php backend runs: boots the application once, and then one call after the other, over a
 * socket of its own (descriptor 3). Comes over standard input, after short.php.
 *
 * A frame is two lengths (32 bits, big endian), a JSON head and a body.
 */

namespace Diffyne\Cluster\Loop {

    use Diffyne\Cluster\Bridge;
    use Illuminate\Contracts\Http\Kernel;
    use Illuminate\Http\Request;
    use Throwable;

    /** The way to the worker. */
    final class Channel
    {
        private const READ_BYTES = 65536;

        /** @var resource */
        private $socket;

        private string $bytes = '';

        public function __construct()
        {
            $this->socket = fopen('php://fd/3', 'r+b');
            stream_set_read_buffer($this->socket, 0);
            stream_set_write_buffer($this->socket, 0);
        }

        public function read(): ?array
        {
            if (! $this->has(8)) {
                return null;
            }
            [, $head, $body] = unpack('N2', $this->bytes);
            if (! $this->has(8 + $head + $body)) {
                return null;
            }
            $frame = [json_decode(substr($this->bytes, 8, $head), true), substr($this->bytes, 8 + $head, $body)];
            $this->bytes = substr($this->bytes, 8 + $head + $body);

            return $frame;
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

        /** Whether something is there to be read, now. */
        public function holds(): bool
        {
            $read = [$this->socket];
            $none = null;

            return $this->bytes !== '' || stream_select($read, $none, $none, 0) === 1;
        }

        /** Waits until so many bytes are there, as long as it takes; false at the end. */
        private function has(int $count): bool
        {
            while (strlen($this->bytes) < $count) {
                // Not fread: that gives up after default_socket_timeout, and asks the system twice.
                $read = @stream_socket_recvfrom($this->socket, self::READ_BYTES);
                if ($read === false || $read === '') {
                    return false;
                }
                $this->bytes .= $read;
            }

            return true;
        }
    }

    /** One application, used by one call after the other, none of which may see the others. */
    final class Application
    {
        private object $app;

        private Kernel $kernel;

        private Bridge $bridge;

        private Sandbox $sandbox;

        private ShortWay $short;

        /** Why calls go through the kernel; null when they go the short way. */
        public readonly ?string $closed;

        public function __construct(string $directory, bool $alwaysKernel, string $classes)
        {
            chdir($directory);
            foreach (["$directory/vendor/autoload.php", "$directory/bootstrap/app.php"] as $file) {
                if (! is_file($file)) {
                    throw new \RuntimeException("$file is missing: is this a Laravel application with its packages installed?");
                }
            }
            require "$directory/vendor/autoload.php";
            // They extend the framework's, which can be found from here on.
            eval($classes);
            $this->app = require "$directory/bootstrap/app.php";
            $this->kernel = $this->app->make(Kernel::class);
            // Services that are made before the first call want to know one.
            $this->app->instance('request', Request::create('http://localhost/'));
            $this->kernel->bootstrap();
            if (! class_exists(\Diffyne\Component::class)) {
                throw new \RuntimeException("the application in $directory has no Diffyne package");
            }
            $this->bridge = new Bridge();
            $route = $this->bridge->register($this->app);
            $this->sandbox = new Sandbox($this->app);
            $this->short = new ShortWay($this->app, $this->sandbox, $this->bridge, $route, $this->kernel);
            $asked = $alwaysKernel || $this->app['config']->get('diffyne.bridge.kernel') === 'always';
            $this->closed = $asked ? 'bridge.kernel=always' : $this->short->closed;
        }

        public function version(): string
        {
            return $this->app->version();
        }

        /** What the bridge has found of the call that runs now. */
        public function names(): array
        {
            return $this->bridge->names;
        }

        /** Runs a call; $answer gets it before anything is tidied up. */
        public function run(array $head, string $payload, callable $answer): void
        {
            if ($head['kind'] === 'status') {
                $this->tellStatus($head, $answer);

                return;
            }
            $short = $this->closed === null && $this->short->isOpen();
            $sandbox = $this->sandbox->enter($short);
            $head['cookies'] = Cookies::parse($head['cookie'] ?? '');
            $request = $response = null;
            try {
                if ($short) {
                    [$result, $request, $response] = $this->short->run($sandbox, $head, $payload, self::server($head));
                } else {
                    $request = new Request([], [], ['diffyne.call' => ['head' => $head, 'payload' => $payload]], $head['cookies'], [], self::server($head));
                    [$result, $response] = $this->throughKernel($sandbox, $request);
                }
            } catch (Throwable $error) {
                $result = self::broken($error);
            }
            $answer($result);
            if ($response !== null) {
                $short
                    ? $this->short->terminate($sandbox, $head, $request, $response)
                    : guarded(fn () => $this->kernel->terminate($request, $response));
                $this->sandbox->terminated($sandbox, $request, $response);
            }
            $this->kernel->setApplication($this->app);
            $this->sandbox->leave($sandbox);
        }

        private function throughKernel(object $sandbox, Request $request): array
        {
            $this->kernel->setApplication($sandbox);
            $this->bridge->answer = null;
            $this->sandbox->received($sandbox, $request);
            $response = $this->kernel->handle($request);
            $result = $this->bridge->answer ?? self::unexpected($response);
            if ($this->sandbox->session?->ended) {
                $result['head']['session'] = 'gone';
            }
            foreach ($response->headers->getCookies() as $cookie) {
                $result['head']['set_cookie'][] = (string) $cookie;
            }

            return [$result, $response];
        }

        /** Writes the connection's status through the application's own cache. */
        private function tellStatus(array $head, callable $answer): void
        {
            $sandbox = $this->sandbox->enter(true);
            $result = ['head' => ['outcome' => 'ok'], 'body' => ''];
            try {
                $sandbox->make('cache')->put(Bridge::STATUS_KEY, $head['status'], $head['seconds']);
            } catch (Throwable $error) {
                $result = self::broken($error);
            }
            $answer($result);
            $this->sandbox->leave($sandbox);
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

        /** What a web server would tell PHP of this request. */
        private static function server(array $head): array
        {
            $secure = ($head['scheme'] ?? 'http') === 'https';
            $host = $head['host'] ?? 'localhost';
            $port = preg_match('/:(\d+)$/', $host, $found) === 1 ? (int) $found[1] : ($secure ? 443 : 80);
            $server = [
                'REQUEST_METHOD' => Bridge::VERB,
                'REQUEST_URI' => '/'.Bridge::PATH,
                'QUERY_STRING' => '',
                'SERVER_PROTOCOL' => 'HTTP/1.1',
                'SERVER_NAME' => preg_replace('/:\d+$/', '', $host),
                'SERVER_PORT' => $port,
                'SCRIPT_NAME' => '',
                'SCRIPT_FILENAME' => '',
                'REQUEST_TIME' => time(),
                'REQUEST_TIME_FLOAT' => microtime(true),
                'REMOTE_ADDR' => $head['ip'] ?? '127.0.0.1',
                'HTTP_HOST' => $host,
                'HTTP_ACCEPT' => 'application/json',
                'HTTP_X_REQUESTED_WITH' => 'XMLHttpRequest',
                'HTTP_SEC_FETCH_SITE' => 'same-origin',
            ];
            if ($secure) {
                $server['HTTPS'] = 'on';
            }
            foreach ($head['headers'] ?? [] as [$name, $value]) {
                $server['HTTP_'.strtoupper(strtr($name, '-', '_'))] = $value;
            }

            return $server;
        }
    }

    (static function (): void {
        $channel = new Channel();
        [$start] = $channel->read();
        $running = false;
        // exit, die, dd, a fatal error: the worker is told which call that was, and starts another process.
        $application = null;
        register_shutdown_function(static function () use ($channel, &$running, &$application): void {
            if ($running) {
                $error = error_get_last();
                $text = $error === null ? 'the call ended the process (exit, die or dd)' : $error['message'];
                $answer = ['type' => 'answer', 'outcome' => 'exit', 'error' => $text, 'file' => $error['file'] ?? '', 'line' => $error['line'] ?? 0];
                $channel->write($answer + $application->names());
            }
        });
        foreach ($start['environment'] as [$name, $value]) {
            putenv("$name=$value");
            $_ENV[$name] = $_SERVER[$name] = $value;
        }
        try {
            $application = new Application($start['directory'], $start['kernel'] === 'always', $start['classes']);
        } catch (Throwable $error) {
            $text = $error::class.': '.$error->getMessage().' in '.$error->getFile().':'.$error->getLine();
            $channel->write(['type' => 'failed', 'error' => $text]);
            exit(1);
        }
        while (ob_get_level() > 0) {
            ob_end_clean();
        }
        $channel->write(['type' => 'ready', 'php' => PHP_VERSION, 'laravel' => $application->version(), 'kernel' => $application->closed ?? '']);
        while (($call = $channel->read()) !== null) {
            [$head, $payload] = $call;
            error_clear_last();
            $running = true;
            $application->run($head, $payload, static function (array $answer) use ($channel, &$running): void {
                $running = false;
                $channel->write(['type' => 'answer'] + $answer['head'], $answer['body']);
            });
            // Not when the next call is there: its answer says as much, and the worker need not wake up for it.
            if (! $channel->holds()) {
                $channel->write(['type' => 'idle', 'memory' => memory_get_usage(true)]);
            }
        }
    })();
}
