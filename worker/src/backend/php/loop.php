<?php

/*
 * The main loop of a process of the php backend: boots the application once, and then runs one call after the other,
 * which come over a socket. Comes over standard input, after fatal_errors.php.
 *
 * A frame is the number of a call, two lengths (32 bits each, big endian), a JSON head and a body.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Diffyne\Cluster\Bridge;
    use Diffyne\Cluster\BridgeReply;
    use Diffyne\Cluster\CallRejection;
    use Diffyne\Cluster\Parts;
    use Illuminate\Contracts\Http\Kernel;
    use Illuminate\Http\Request;
    use Throwable;

    /** The socket to the worker. */
    final class Channel
    {
        private const READ_BYTES = 65536;

        /** The process inherits a socket as this descriptor. */
        private const INHERITED = 'php://fd/3';

        /** @var resource what this process sends */
        private $socket;

        /** @var resource the calls that wait for this process */
        private $inbox;

        private string $bytes = '';

        /** @var ?resource in the place of standard output, once that was closed */
        private static $output = null;

        /** The call that was read last, which everything that is written belongs to. */
        private int $call = 0;

        /** The process that talks to the worker. A child that it forks has another number. */
        private int $process;

        public function __construct()
        {
            $this->process = getmypid();
            $inherited = fopen(self::INHERITED, 'r+b');
            $received = self::receive($inherited);
            [$this->socket, $this->inbox] = array_map(self::withoutBuffers(...), $received ?? [$inherited, $inherited]);
            fwrite($inherited, $received === null ? 'i' : 'r');
        }

        /**
         * @param resource $socket
         * @return resource
         */
        private static function withoutBuffers($socket)
        {
            stream_set_read_buffer($socket, 0);
            stream_set_write_buffer($socket, 0);

            return $socket;
        }

        /**
         * The two sockets that wait in the inherited one, closed in programs that PHP starts. Only the extension sockets can
         * receive them; without it, the inherited socket is the channel.
         */
        private static function receive($inherited): ?array
        {
            if (! function_exists('socket_recvmsg') || ! defined('MSG_CMSG_CLOEXEC')) {
                stream_socket_recvfrom($inherited, 1);

                return null;
            }
            $message = ['buffer_size' => 1, 'controllen' => socket_cmsg_space(SOL_SOCKET, SCM_RIGHTS, 2)];
            socket_recvmsg(socket_import_stream($inherited), $message, MSG_CMSG_CLOEXEC);
            $received = self::sockets($message);

            return $received === null ? null : array_map(socket_export_stream(...), $received);
        }

        /** @return ?array{\Socket, \Socket} the sockets that came with a message */
        public static function sockets(array $message): ?array
        {
            $received = $message['control'][0]['data'] ?? [];
            $sockets = array_filter($received, static fn ($descriptor) => $descriptor instanceof \Socket);

            return count($sockets) === 2 ? $sockets : null;
        }

        /** The next call; null at the end of the stream. */
        public function read(): ?array
        {
            $this->endForkedChild();
            if (! $this->fill(12)) {
                return null;
            }
            [, $this->call, $head, $body] = unpack('N3', $this->bytes);
            if (! $this->fill(12 + $head + $body)) {
                return null;
            }
            $frame = [json_decode(substr($this->bytes, 12, $head), true), substr($this->bytes, 12 + $head, $body)];
            $this->bytes = '';

            return $frame;
        }

        public function write(array $head, string $body = ''): void
        {
            $this->endForkedChild();
            $head = json_encode($head, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
            $rest = pack('N3', $this->call, strlen($head), strlen($body)).$head.$body;
            while ($rest !== '') {
                $written = @fwrite($this->socket, $rest);
                if ($written === false || $written === 0) {
                    exit(1);
                }
                $rest = substr($rest, $written);
            }
        }

        /**
         * Writes a part of the answer. False when the worker has said that the browser has left: PHP hears of it at the
         * next part, as from a web server.
         */
        public function writePart(array $part): bool
        {
            $this->write(['type' => 'part'] + $part);
            if (! $this->hasMessageForCall()) {
                return true;
            }
            [$head] = $this->read() ?? exit(1);
            ($head['kind'] ?? '') === 'left' && self::abort();

            return false;
        }

        /** Makes connection_aborted() true, as PHP does itself when it cannot write. */
        private static function abort(): void
        {
            $levels = ob_get_level();
            while (ob_get_level() > 0) {
                ob_end_clean();
            }
            $before = (bool) ignore_user_abort(true);
            is_resource(STDOUT) && fclose(STDOUT);
            echo ' ';
            // Nothing else gets the number of the closed file, to which C libraries may print.
            self::$output = fopen('/dev/null', 'w');
            ignore_user_abort($before);
            while ($levels-- > 0) {
                ob_start();
            }
        }

        /** Says that the process has cleaned up after its last call. */
        public function writeIdle(): void
        {
            $this->write(['type' => 'idle', 'memory' => memory_get_usage(true)]);
        }

        /** Whether there is something to read now. */
        public function hasInput(): bool
        {
            $read = [$this->inbox];
            $none = null;

            return stream_select($read, $none, $none, 0) === 1;
        }

        /** Whether there is a message to the call that runs. The next call may lie there as well, and stays unread. */
        private function hasMessageForCall(): bool
        {
            if (! $this->hasInput()) {
                return false;
            }
            // The worker may have taken the next call back meanwhile.
            stream_set_blocking($this->inbox, false);
            $number = @stream_socket_recvfrom($this->inbox, 4, STREAM_PEEK);
            stream_set_blocking($this->inbox, true);

            return $number === pack('N', $this->call);
        }

        /** Lets a forked child use the channel, whose parent waits for it. */
        public function own(): void
        {
            $this->process = getmypid();
        }

        /** The socket as one that receives descriptors. */
        public function forDescriptors(): \Socket
        {
            return socket_import_stream($this->socket);
        }

        /**
         * Makes this the channel of a process that was forked from the template: it talks to the worker itself.
         *
         * @param array{\Socket, \Socket} $received
         */
        public function take(array $received): void
        {
            fclose($this->socket);
            fclose($this->inbox);
            [$this->socket, $this->inbox] = array_map(static fn ($socket) => self::withoutBuffers(socket_export_stream($socket)), $received);
            [$this->bytes, $this->call] = ['', 0];
            $this->own();
        }

        /** Whether this is the process that talks to the worker, and not a child that it has forked. */
        public function isOwner(): bool
        {
            return getmypid() === $this->process;
        }

        /**
         * Ends a forked child that has come back from its call, as its parent does. Destructors and shutdown functions do
         * not run: they would use connections that the parent goes on with.
         */
        private function endForkedChild(): void
        {
            if ($this->isOwner()) {
                return;
            }
            function_exists('posix_kill') && posix_kill(getmypid(), 9);
            function_exists('pcntl_exec') && @pcntl_exec('/bin/true');
            exit(1);
        }

        /**
         * Waits until the buffer has this many bytes; false at the end of the stream. Nothing beyond them is read: the
         * worker can give the next call to another process as long as it lies in the socket.
         */
        private function fill(int $count): bool
        {
            while (($missing = $count - strlen($this->bytes)) > 0) {
                // Not fread(): it times out after default_socket_timeout, and needs two system calls.
                $read = @stream_socket_recvfrom($this->inbox, min($missing, self::READ_BYTES));
                if ($read === false || $read === '') {
                    return false;
                }
                $this->bytes .= $read;
            }

            return true;
        }
    }

    /** The booted application, which runs calls that must not affect each other. */
    final class Application
    {
        private object $app;

        private Kernel $kernel;

        private Bridge $bridge;

        private Sandbox $sandbox;

        private FastPath $fastPath;

        private FatalErrors $fatalErrors;

        /** The head of the call that has been answered, and its class and method. */
        private static array $answered = [[], []];

        /** Why calls go through the kernel; null when they take the fast path. */
        public readonly ?string $kernelReason;

        public function __construct(string $directory, bool $alwaysKernel, bool $reconnects, string $classes)
        {
            // The error below says more than a warning.
            @chdir($directory);
            foreach (["$directory/vendor/autoload.php", "$directory/bootstrap/app.php"] as $file) {
                if (! is_file($file)) {
                    throw new \RuntimeException("$file is missing: is DIFFYNE_APP a Laravel application with its packages installed?");
                }
            }
            require "$directory/vendor/autoload.php";
            // These classes extend the framework's, which can be loaded from here on.
            eval($classes);
            $this->app = require "$directory/bootstrap/app.php";
            $this->kernel = $this->app->make(Kernel::class);
            $this->sandbox = new Sandbox($this->app);
            // Services that are made before the first call need a request.
            $this->app->instance('request', Request::create('http://localhost/'));
            $this->kernel->bootstrap();
            $this->fatalErrors = new FatalErrors();
            if (! class_exists(\Diffyne\Component::class)) {
                throw new \RuntimeException("the application in $directory has no Diffyne package");
            }
            $this->bridge = new Bridge();
            $route = $this->bridge->register($this->app);
            $this->sandbox->warm();
            $this->fastPath = new FastPath($this->app, $this->sandbox, $this->bridge, $route, $this->kernel);
            $isForced = $alwaysKernel || $this->app['config']->get('diffyne.bridge.kernel') === 'always';
            $this->kernelReason = $isForced ? 'bridge.kernel=always' : $this->fastPath->kernelReason;
            $reconnects && OpenConnections::close($this->app);
            $this->sandbox->seal();
        }

        public function version(): string
        {
            return $this->app->version();
        }

        /** The class and method of the current call, as far as the bridge has found them. */
        public function names(): array
        {
            // It is asked for by the reply to a call that has ended the process.
            $this->fatalErrors->free();

            return $this->bridge->names;
        }

        /** Which call has been answered, for what fails after it. */
        public static function answeredCall(): string
        {
            [$head, $names] = self::$answered;
            $request = array_column($head['headers'] ?? [], 1, 0)['x-request-id'] ?? '';

            return isset($names['component']) ? " of {$names['component']}::".($names['method'] ?? $head['kind'])." (request $request)" : '';
        }

        /** For calls that run in processes of their own. */
        public function forkedCalls(): ForkedCalls
        {
            return new ForkedCalls($this->fastPath->keepAlive);
        }

        /** What the last call left behind that cannot be put back; null when the process is clean. */
        public function replaceReason(): ?array
        {
            $left = connection_status() === CONNECTION_NORMAL ? null : ['kind' => 'aborted', 'component' => $this->bridge->names['component'] ?? ''];

            return $this->sandbox->replaceReason() ?? $left;
        }

        /** Runs what a call that has ended the process has registered to be run at its end. */
        public function shutDown(): void
        {
            $this->sandbox->shutDown();
            $this->fatalErrors->muteLaravel();
        }

        /** Runs a call, and passes its reply to $reply before it cleans up. Parts of the answer go to $part before. */
        public function run(array $head, string $payload, callable $reply, Closure $part): void
        {
            $this->bridge->names = [];
            self::$answered = [[], []];
            if ($head['kind'] === 'status') {
                $this->writeStatus($head, $reply);

                return;
            }
            $takesFastPath = $this->kernelReason === null && $this->fastPath->isAvailable();
            $this->sandbox->enter($takesFastPath);
            $request = $response = null;
            Parts::begin(($head['parts'] ?? false) === true ? $part : null);
            $this->fatalErrors->enterCall();
            try {
                $head['cookies'] = Cookies::parse($head['cookie'] ?? '');
                if ($takesFastPath) {
                    [$result, $request, $response] = $this->fastPath->run($head, $payload, self::serverVariables($head));
                } else {
                    $request = new Request([], [], ['diffyne.call' => ['head' => $head, 'payload' => $payload]], $head['cookies'], [], self::serverVariables($head));
                    [$result, $response] = $this->throughKernel($request);
                }
            } catch (CallRejection $rejection) {
                $result = BridgeReply::sessionEnded();
            } catch (Throwable $error) {
                $result = self::exceptionReply($error);
            }
            Parts::end();
            // What fails while the reply is written has no other words.
            $this->fatalErrors->leaveCall();
            $reply($result);
            self::$answered = [$head, $this->bridge->names];
            if ($response !== null) {
                $takesFastPath
                    ? $this->fastPath->terminate($head, $request, $response)
                    : guarded(fn () => $this->kernel->terminate($request, $response));
                $this->sandbox->requestTerminated($request, $response);
            }
            $this->sandbox->shutDown();
            $this->sandbox->leave($this->bridge->names['component'] ?? '');
        }

        private function throughKernel(Request $request): array
        {
            $this->bridge->reply = null;
            $this->sandbox->requestReceived($request);
            $response = $this->kernel->handle($request);
            $result = $this->bridge->reply ?? self::frameworkReply($response);
            if ($this->sandbox->session?->endedElsewhere) {
                $result['head']['session'] = 'gone';
            }
            foreach ($response->headers->getCookies() as $cookie) {
                $result['head']['set_cookie'][] = (string) $cookie;
            }

            return [$result, $response];
        }

        /** Writes the connection's status into the application's cache. */
        private function writeStatus(array $head, callable $reply): void
        {
            $this->sandbox->enter(true);
            $result = ['head' => ['outcome' => 'ok'], 'body' => ''];
            try {
                $this->app->make('cache')->put(Bridge::STATUS_KEY, $head['status'], $head['seconds']);
            } catch (Throwable $error) {
                $result = self::exceptionReply($error);
            }
            $reply($result);
            $this->sandbox->shutDown();
            $this->sandbox->leave('');
        }

        /** The framework responded instead of the bridge: a redirect, a refusal, an error page. */
        private static function frameworkReply(object $response): array
        {
            $head = ['outcome' => 'refused', 'status' => $response->getStatusCode(), 'error' => ''];
            // An exception in the middleware, for example.
            $error = $response->exception ?? null;

            return ['head' => $error instanceof Throwable ? ['error' => $error->getMessage()] + BridgeReply::place($error) + $head : $head, 'body' => ''];
        }

        private static function exceptionReply(Throwable $error): array
        {
            return ['head' => ['outcome' => 'exception', 'error' => $error->getMessage()] + BridgeReply::place($error), 'body' => ''];
        }

        /** The request's server variables, as a web server would set them. */
        private static function serverVariables(array $head): array
        {
            static $names = [];
            $secure = ($head['scheme'] ?? 'http') === 'https';
            $host = $head['host'] ?? 'localhost';
            $at = strrpos($host, ':');
            $port = $at === false ? '' : substr($host, $at + 1);
            [$name, $port] = ctype_digit($port) ? [substr($host, 0, $at), (int) $port] : [$host, $secure ? 443 : 80];
            $server = [
                'REQUEST_METHOD' => Bridge::VERB,
                'REQUEST_URI' => '/'.Bridge::PATH,
                'QUERY_STRING' => '',
                'SERVER_PROTOCOL' => 'HTTP/1.1',
                'SERVER_NAME' => $name,
                'SERVER_PORT' => $port,
                'SCRIPT_NAME' => '',
                'SCRIPT_FILENAME' => '',
                'REQUEST_TIME' => time(),
                'REQUEST_TIME_FLOAT' => microtime(true),
                'REMOTE_ADDR' => $head['ip'] ?? '127.0.0.1',
                'HTTP_HOST' => $host,
                'HTTP_SEC_FETCH_SITE' => 'same-origin',
            ];
            // As diffyne.js sends them.
            $server += $head['kind'] === 'mount'
                ? ['HTTP_ACCEPT' => 'application/json']
                : ['HTTP_ACCEPT' => '*/*', 'HTTP_X_REQUESTED_WITH' => 'XMLHttpRequest'];
            if ($secure) {
                $server['HTTPS'] = 'on';
            }
            foreach ($head['headers'] ?? [] as [$name, $value]) {
                // The worker passes on a few names only.
                $server[$names[$name] ??= 'HTTP_'.strtoupper(strtr($name, '-', '_'))] = $value;
            }

            return $server;
        }
    }

    (static function (): void {
        // Before PHP 8.3, a script on standard input has none.
        defined('STDERR') || define('STDERR', fopen('php://stderr', 'w'));
        // The first stream of standard output is the one that closes it.
        defined('STDOUT') || define('STDOUT', fopen('php://stdout', 'w'));
        $channel = new Channel();
        [$start] = $channel->read();
        $running = false;
        // After exit, die, dd or a fatal error, this replies to the call, and the worker starts another process.
        $application = null;
        register_shutdown_function(static function () use ($channel, &$running, &$application): void {
            if ($running && $channel->isOwner()) {
                $error = error_get_last();
                $text = $error === null ? 'the call ended the process (exit, die or dd)' : $error['message'];
                $reply = ['type' => 'answer', 'outcome' => 'exit', 'error' => $text, 'file' => $error['file'] ?? '', 'line' => $error['line'] ?? 0];
                $channel->write($reply + $application->names());
            }
            $channel->isOwner() && $application?->shutDown();
        });
        foreach ($start['environment'] as [$name, $value]) {
            putenv("$name=$value");
            $_ENV[$name] = $_SERVER[$name] = $value;
        }
        $template = $start['template'] ? new Template() : null;
        if ($template !== null && ($missing = Template::missing()) !== '') {
            $channel->write(['type' => 'cannot_fork', 'reason' => $missing]);
            exit(0);
        }
        try {
            $start['isolation'] === 'process' && ForkedCalls::check();
            $application = new Application($start['directory'], $start['kernel'] === 'always', $start['reconnect'], $start['classes']);
        } catch (Throwable $error) {
            $text = $error::class.': '.$error->getMessage().' in '.$error->getFile().':'.$error->getLine();
            $channel->write(['type' => 'failed', 'error' => $text]);
            exit(1);
        }
        while (ob_get_level() > 0) {
            ob_end_clean();
        }
        $ready = ['type' => 'ready', 'id' => getmypid(), 'php' => PHP_VERSION, 'laravel' => $application->version()];
        $ready += ['kernel' => $application->kernelReason ?? '', 'release' => Release::ofApplication()];
        $channel->write($ready);
        if ($template !== null) {
            $template->serve($channel);
            $channel->write(['id' => getmypid()] + $ready);
        }
        $forked = $start['isolation'] === 'process' ? $application->forkedCalls() : null;
        $isIdle = true;
        while (($call = $channel->read()) !== null) {
            [$head, $payload] = $call;
            error_clear_last();
            $run = static function () use ($application, $head, $payload, $channel, &$running): void {
                $running = true;
                $application->run($head, $payload, static function (array $reply) use ($channel, &$running): void {
                    $running = false;
                    $channel->write(['type' => 'answer', 'memory' => memory_get_usage(true)] + $reply['head'], $reply['body']);
                }, $channel->writePart(...));
            };
            if ($head['kind'] === 'left') {
                // The last call has ended before it could hear that its browser has left.
                if (! $isIdle && ! $channel->hasInput()) {
                    $channel->writeIdle();
                    $isIdle = true;
                }
                continue;
            }
            $forked === null ? $run() : $forked->run($channel, $run);
            $replace = $application->replaceReason();
            if ($replace !== null) {
                // The next call may be there already. It stays unread, and another process runs it.
                $channel->write(['type' => 'idle', 'replace' => $replace]);
                break;
            }
            // Not when the next call is already there: its reply says the same, and the worker need not wake up.
            $isIdle = ! $channel->hasInput();
            $isIdle && $channel->writeIdle();
        }
    })();
}
