<?php

/*
 * The template of a pool: a process that has booted the application, runs no calls itself, and is forked for each process
 * that runs some. Comes over standard input, after fork.php.
 *
 * The worker asks in messages of a byte and a number (32 bits, big endian), and sends with the first kind the sockets of
 * the new process's channel. The answer has the same form, and for the second kind the status of the process behind it.
 */

namespace Diffyne\Cluster\Loop {

    use Illuminate\Database\Connection;
    use Illuminate\Database\DatabaseManager;
    use Illuminate\Redis\RedisManager;
    use Socket;
    use Throwable;

    /** Connections that the application has opened when it booted. Two processes cannot use one. */
    final class OpenConnections
    {
        /** Closes them. Each process opens those that it needs anew. */
        public static function close(object $app): void
        {
            $database = $app->resolved('db') ? $app->make('db') : null;
            foreach ($database instanceof DatabaseManager ? $database->getConnections() : [] as $name => $connection) {
                try {
                    self::isInMemory($connection) || $database->reconnect($name);
                } catch (Throwable) {
                    // Its configuration is gone, as a provider may have made it for a moment.
                    $database->purge($name);
                }
            }
            $redis = $app->resolved('redis') ? $app->make('redis') : null;
            foreach ($redis instanceof RedisManager ? array_keys($redis->connections() ?? []) : [] as $name) {
                $redis->purge($name);
            }
        }

        /** A database within the process, which each process gets a copy of. */
        private static function isInMemory(object $connection): bool
        {
            return $connection instanceof Connection && $connection->getDriverName() === 'sqlite'
                && preg_match('/:memory:|mode=memory/', (string) $connection->getDatabaseName()) === 1;
        }
    }

    /** Forks a process whenever the worker asks for one, and keeps its number until the worker has asked for its end. */
    final class Template
    {
        private const FORK = 'f';

        /** Asked when the process has ended: until then it keeps its number. */
        private const STATUS = 's';

        private const REQUEST_BYTES = 5;

        /** Of the extensions pcntl, posix and sockets. */
        private const FUNCTIONS = ['pcntl_fork', 'pcntl_waitpid', 'pcntl_signal', 'pcntl_signal_get_handler', 'pcntl_get_last_error',
            'posix_setpgid', 'posix_kill', 'socket_recvmsg', 'socket_cmsg_space', 'socket_import_stream', 'socket_export_stream',
            'socket_write', 'socket_last_error'];

        /** The status of a process that is not known. */
        private const UNKNOWN = 0xFFFFFFFF;

        /** @var array<int, bool> processes that were not waited for, by number, and whether their end was asked for */
        private array $processes = [];

        /** What PHP lacks for it; empty when it lacks nothing. */
        public static function missing(): string
        {
            $missing = array_filter(self::FUNCTIONS, static fn (string $name) => ! function_exists($name));

            return $missing === [] ? '' : 'PHP has no '.implode(', ', $missing).' (extensions pcntl, posix, sockets)';
        }

        /** Returns in each process that is forked. The template itself stays in here until the worker has gone. */
        public function serve(Channel $channel): void
        {
            // The system sends it when the worker dies. The processes have to be killed first.
            $handler = pcntl_signal_get_handler(SIGTERM);
            pcntl_signal(SIGTERM, SIG_IGN);
            $socket = $channel->forDescriptors();
            while (([$kind, $number, $received] = self::next($socket)) && $kind !== '') {
                if ($kind === self::STATUS) {
                    self::write($socket, pack('aNN', $kind, $number, $this->status($number)));
                    continue;
                }
                // A failure is a warning, of which Laravel would make an exception.
                $process = $received === null ? -1 : @pcntl_fork();
                if ($process === 0) {
                    pcntl_signal(SIGTERM, $handler);
                    unset($socket);
                    self::begin($channel, $received);

                    return;
                }
                $error = $process > 0 ? 0 : ($received === null ? SOCKET_EMFILE : pcntl_get_last_error());
                $process > 0 && $this->processes[$process] = false;
                // The worker hears of the new process's end only once nobody else holds its channel.
                unset($received);
                self::write($socket, pack('aNN', $kind, max($process, 0), $error));
                $this->forgetEnded();
            }
            $this->end();
        }

        /** @return array{string, int, ?array} the next request; an empty kind once the worker has gone */
        private static function next(Socket $socket): array
        {
            $message = ['buffer_size' => self::REQUEST_BYTES, 'controllen' => socket_cmsg_space(SOL_SOCKET, SCM_RIGHTS, 2)];
            do {
                $read = @socket_recvmsg($socket, $message, MSG_CMSG_CLOEXEC);
            } while ($read === false && socket_last_error($socket) === SOCKET_EINTR);
            if ($read !== self::REQUEST_BYTES) {
                return ['', 0, null];
            }
            ['kind' => $kind, 'number' => $number] = unpack('akind/Nnumber', $message['iov'][0]);

            return [$kind, $number, Channel::sockets($message)];
        }

        private static function write(Socket $socket, string $bytes): void
        {
            @socket_write($socket, $bytes);
        }

        /** How a process has ended, as the system tells it. */
        private function status(int $process): int
        {
            // Never to wait for one that somebody else holds.
            if (! isset($this->processes[$process]) || pcntl_waitpid($process, $status, WNOHANG) !== $process) {
                isset($this->processes[$process]) && $this->processes[$process] = true;

                return self::UNKNOWN;
            }
            unset($this->processes[$process]);

            return $status;
        }

        /** Lets go of processes that had not ended yet when their end was asked for. */
        private function forgetEnded(): void
        {
            foreach (array_keys($this->processes, true, true) as $process) {
                $this->status($process);
            }
        }

        /** Makes a fork a process like one that the worker has started. */
        private static function begin(Channel $channel, array $received): void
        {
            posix_setpgid(0, 0);
            $channel->take($received);
            // Else all would draw the same numbers.
            mt_srand();
        }

        /**
         * Ends all processes, and those that they have started: the worker, which would do so, has gone. What the application
         * has registered for its end does not run: it would run once more than there were processes.
         */
        private function end(): never
        {
            foreach (array_keys($this->processes) as $process) {
                posix_kill(-$process, SIGKILL);
                posix_kill($process, SIGKILL);
            }
            posix_kill(getmypid(), SIGKILL);
            exit(0);
        }
    }
}
