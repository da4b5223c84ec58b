<?php

/*
 * Fatal errors are said once, by the reply to the call that they end. Comes over standard input, after release.php.
 */

namespace Diffyne\Cluster\Loop {

    /** Fatal errors of a call: its reply says them, so neither PHP nor Laravel prints them as well. */
    final class FatalErrors
    {
        /** Memory for the reply when a call has taken all there is. */
        private const RESERVE_BYTES = 65536;

        private ?string $reserve = null;

        private string $logErrors;

        private bool $isInCall = false;

        public function __construct()
        {
            $this->logErrors = (string) ini_get('log_errors');
            // Laravel sets it as well, but not where APP_ENV is `testing`.
            ini_set('display_errors', '0');
        }

        public function enterCall(): void
        {
            $this->isInCall = true;
            $this->reserve ??= str_repeat(' ', self::RESERVE_BYTES);
            ini_set('log_errors', '0');
        }

        /** What fails after the reply is said by nobody else. */
        public function leaveCall(): void
        {
            $this->isInCall = false;
            ini_set('log_errors', $this->logErrors);
        }

        /** Makes room for the reply. Should even that fail, PHP says why. */
        public function free(): void
        {
            $this->reserve = null;
            ini_set('log_errors', $this->logErrors);
        }

        /** Keeps Laravel from printing a page or a text that nobody sees. It reports the error to its log all the same. */
        public function muteLaravel(): void
        {
            if (! $this->isInCall || ! self::isFatal(error_get_last()['type'] ?? 0)) {
                return;
            }
            ob_start(static fn (): string => '');
            stream_filter_register('diffyne.discard', Discard::class);
            is_resource(STDOUT) && stream_filter_append(STDOUT, 'diffyne.discard', STREAM_FILTER_WRITE);
        }

        private static function isFatal(int $type): bool
        {
            return in_array($type, [E_ERROR, E_PARSE, E_CORE_ERROR, E_COMPILE_ERROR], true);
        }
    }

    /** Discards what is written to a stream. */
    final class Discard extends \php_user_filter
    {
        public function filter($in, $out, &$consumed, bool $closing): int
        {
            while (($bucket = stream_bucket_make_writeable($in)) !== null) {
                $consumed += $bucket->datalen;
            }

            return PSFS_FEED_ME;
        }
    }
}
