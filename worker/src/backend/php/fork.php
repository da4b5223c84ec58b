<?php

/*
 * Each call in a process of its own, forked from one that has booted (DIFFYNE_PHP_ISOLATION=process). Comes over standard
 * input, after fast_path.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use RuntimeException;

    final class ForkedCalls
    {
        private const DONE = 'd';

        /** One byte and the hash of a cookie. */
        private const MESSAGE_BYTES = 17;

        /** @var array{resource, resource} children say here that they have run their call, and which session it has used */
        private array $done;

        public function __construct(private SessionKeepAlive $keepAlive)
        {
            $this->done = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_DGRAM, 0);
            stream_set_blocking($this->done[0], false);
        }

        /** Throws where PHP cannot fork. */
        public static function check(): void
        {
            if (! function_exists('pcntl_fork')) {
                throw new RuntimeException('DIFFYNE_PHP_ISOLATION=process needs the PHP extension pcntl');
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
