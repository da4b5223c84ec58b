<?php

/*
 * Each call in a process of its own, forked from one that has booted (DIFFYNE_PHP_ISOLATION=process). Comes over standard
 * input, after fast_path.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Illuminate\Database\DatabaseManager;
    use Illuminate\Redis\RedisManager;
    use RuntimeException;

    final class ForkedCalls
    {
        private const DONE = 'd';

        /** One byte and the hash of a cookie. */
        private const MESSAGE_BYTES = 17;

        /** @var array{resource, resource} children say here that they have run their call, and which session it has used */
        private array $done;

        public function __construct(object $app, private SessionKeepAlive $keepAlive)
        {
            if (! function_exists('pcntl_fork')) {
                throw new RuntimeException('DIFFYNE_PHP_ISOLATION=process needs the PHP extension pcntl');
            }
            $this->done = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_DGRAM, 0);
            stream_set_blocking($this->done[0], false);
            $this->closeConnections($app);
        }

        /** Two processes cannot use one connection. Each child opens those that providers have opened anew, when it needs them. */
        private function closeConnections(object $app): void
        {
            $database = $app->resolved('db') ? $app->make('db') : null;
            foreach ($database instanceof DatabaseManager ? array_keys($database->getConnections()) : [] as $name) {
                $database->reconnect($name);
            }
            $redis = $app->resolved('redis') ? $app->make('redis') : null;
            foreach ($redis instanceof RedisManager ? array_keys($redis->connections() ?? []) : [] as $name) {
                $redis->purge($name);
            }
        }

        /** Runs a call in a child, and waits until the child has ended. A signal that ends the child ends this process, too. */
        public function run(Channel $channel, Closure $call): void
        {
            $child = pcntl_fork();
            if ($child === -1) {
                throw new RuntimeException('a process for the call cannot be forked: '.pcntl_strerror(pcntl_get_last_error()));
            }
            if ($child === 0) {
                $channel->own();
                // Else all children would draw the same numbers.
                mt_srand();
                $call();
                // What the call has registered to be run at the end of its request runs now. After that, PHP would take down
                // all its modules, which takes longer than the call.
                register_shutdown_function(function (): void {
                    fwrite($this->done[1], self::DONE.$this->keepAlive->lastUsed);
                    posix_kill(getmypid(), SIGKILL);
                });
                exit(0);
            }
            do {
                $ended = pcntl_waitpid($child, $status);
            } while ($ended === -1 && pcntl_get_last_error() === PCNTL_EINTR);
            $said = (string) stream_socket_recvfrom($this->done[0], self::MESSAGE_BYTES);
            if ($said === '' && pcntl_wifsignaled($status)) {
                posix_kill(getmypid(), pcntl_wtermsig($status));
            }
            strlen($said) > 1 && $this->keepAlive->markUsed(substr($said, 1), time());
            $this->keepAlive->lastUsed = '';
        }
    }
}
