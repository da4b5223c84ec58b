<?php

/*
 * What code can change in a PHP process outside of objects and classes. Comes over standard input, after snapshot.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Throwable;

    /** Something that a call cannot put back: the process has to be replaced. */
    final class Irrevocable extends \RuntimeException
    {
    }

    /**
     * One entry for each kind of state: how to read it after the application's start, and how to put it back after a
     * call.
     *
     * `capture` reads it. `restore` gets what was read, and throws Irrevocable where PHP gives no way to put it back. A new
     * kind is a new entry here and a proof of the same name in the tests (tests/data/isolation). The table in
     * docs/laravel.md is made from the names and descriptions.
     */
    final class Catalogue
    {
        /** Open files, sockets and pipes that a process may have beyond those after its start. */
        private const DESCRIPTORS_MAX = 64;

        /** How long paths may be remembered. */
        private const REALPATH_NANOSECONDS = 1_000_000_000;

        /** Settings of extensions that an application of Laravel's does not use, or that affect nothing later. */
        private const INI_IGNORED = '/^(?:session|mysqli?|mysqlnd|soap|odbc|pgsql|opcache\.(?!enable$)|redis|igbinary|cli|phar|url_rewriter|browscap
            |highlight|unserialize_callback|xmlrpc|filter|exif|sqlite3|ffi|sysv|tidy|uploadprogress|apc)[._]?/x';

        /** @var array<string, array{Closure, mixed}> how to put each kind back, and what it was */
        private array $held = [];

        public function __construct()
        {
            foreach (self::kinds() as $name => ['capture' => $capture, 'restore' => $restore]) {
                $this->held[$name] = [$restore, $capture()];
            }
        }

        /** Puts everything back. Returns the kind that could not be, if there is one. */
        public function restore(): ?string
        {
            $lost = null;
            foreach ($this->held as $name => [$restore, $was]) {
                try {
                    $restore($was);
                } catch (Throwable $error) {
                    $lost ??= $name;
                    $error instanceof Irrevocable || fwrite(STDERR, "$name cannot be put back: {$error->getMessage()}\n");
                }
            }

            return $lost;
        }

        /** @return array<string, array{about: string, capture: Closure, restore: Closure}> */
        public static function kinds(): array
        {
            return [
                'superglobals' => [
                    'about' => '`$_SERVER`, `$_ENV`, `$_GET`, `$_POST`, `$_COOKIE`, `$_FILES`, `$_REQUEST`, `$_SESSION`',
                    'capture' => static fn () => [$_SERVER, $_ENV, $_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST],
                    'restore' => static function (array $was): void {
                        [$_SERVER, $_ENV, $_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST] = $was;
                        unset($GLOBALS['_SESSION']);
                    },
                ],
                'globals' => [
                    'about' => 'global variables',
                    'capture' => static fn () => self::globals(),
                    'restore' => static function (array $was): void {
                        foreach (array_diff_key($GLOBALS, $was) as $name => $_) {
                            if (! self::isSuperglobal($name)) {
                                unset($GLOBALS[$name]);
                            }
                        }
                        foreach ($was as $name => $value) {
                            $GLOBALS[$name] = $value;
                        }
                    },
                ],
                'environment' => [
                    'about' => '`putenv()`',
                    'capture' => static fn () => getenv(),
                    'restore' => static function (array $was): void {
                        $now = getenv();
                        if ($now === $was) {
                            return;
                        }
                        foreach (array_diff_key($now, $was) as $name => $_) {
                            putenv($name);
                        }
                        foreach (array_diff_assoc($was, $now) as $name => $value) {
                            putenv("$name=$value");
                        }
                    },
                ],
                'ini' => [
                    'about' => '`ini_set()`, `error_reporting()`',
                    'capture' => static function (): array {
                        $isWanted = static fn (array $entry, string $name): bool => ($entry['access'] & INI_USER) !== 0
                            && preg_match(self::INI_IGNORED, $name) === 0;
                        $names = array_keys(array_filter(ini_get_all(), $isWanted, ARRAY_FILTER_USE_BOTH));

                        // Compiled, the calls take half as long as in a loop.
                        $calls = implode(', ', array_map(static fn (string $name) => "ini_get('$name')", $names));
                        $read = eval("return static fn (): array => [$calls];");

                        return [$read, $names, $read()];
                    },
                    'restore' => static function (array $was): void {
                        [$read, $names, $values] = $was;
                        $now = $read();
                        if ($now === $values) {
                            return;
                        }
                        foreach (array_diff_assoc($now, $values) as $index => $_) {
                            @ini_set($names[$index], (string) $values[$index]);
                            ini_get($names[$index]) === $values[$index] || ini_restore($names[$index]);
                            ini_get($names[$index]) === $values[$index] || throw new Irrevocable($names[$index]);
                        }
                    },
                ],
                'time_limit' => [
                    'about' => '`set_time_limit()`',
                    'capture' => static fn () => (int) ini_get('max_execution_time'),
                    'restore' => static fn (int $was) => set_time_limit($was),
                ],
                'time_zone' => [
                    'about' => '`date_default_timezone_set()`',
                    'capture' => static fn () => date_default_timezone_get(),
                    'restore' => static fn (string $was) => date_default_timezone_get() === $was || date_default_timezone_set($was),
                ],
                'locale' => [
                    'about' => '`setlocale()` and the default locale of `intl`',
                    'capture' => static fn () => [setlocale(LC_ALL, '0'), class_exists(\Locale::class, false) ? \Locale::getDefault() : null],
                    'restore' => static function (array $was): void {
                        setlocale(LC_ALL, '0') === $was[0] || setlocale(LC_ALL, $was[0]);
                        $was[1] === null || \Locale::getDefault() === $was[1] || \Locale::setDefault($was[1]);
                    },
                ],
                'encodings' => [
                    'about' => '`mb_internal_encoding()`, `mb_language()`, `mb_substitute_character()`, `mb_detect_order()`, `mb_http_output()`, `mb_regex_encoding()`',
                    'capture' => static fn () => self::encodings(),
                    'restore' => static function (array $was): void {
                        $now = self::encodings();
                        foreach ($now === $was ? [] : $now as $function => $value) {
                            $value === $was[$function] || $function($was[$function]);
                        }
                    },
                ],
                'directory' => [
                    'about' => '`chdir()`',
                    'capture' => static fn () => getcwd(),
                    'restore' => static fn (string $was) => getcwd() === $was || chdir($was) || throw new Irrevocable($was),
                ],
                'umask' => [
                    'about' => '`umask()`',
                    'capture' => static fn () => umask(),
                    'restore' => static fn (int $was) => umask($was),
                ],
                'error_handler' => [
                    'about' => '`set_error_handler()`',
                    'capture' => static fn () => self::errorHandler(),
                    'restore' => static function (mixed $was): void {
                        for ($handler = self::errorHandler(); $handler !== $was && $handler !== null; $handler = self::errorHandler()) {
                            restore_error_handler();
                        }
                        $handler === $was || set_error_handler($was);
                    },
                ],
                'exception_handler' => [
                    'about' => '`set_exception_handler()`',
                    'capture' => static fn () => self::exceptionHandler(),
                    'restore' => static function (mixed $was): void {
                        for ($handler = self::exceptionHandler(); $handler !== $was && $handler !== null; $handler = self::exceptionHandler()) {
                            restore_exception_handler();
                        }
                        $handler === $was || set_exception_handler($was);
                    },
                ],
                'shutdown_functions' => [
                    'about' => '`register_shutdown_function()`: they run after the call; called with a backslash (`\register_shutdown_function()`) or without a namespace, when the process ends',
                    'capture' => static fn () => null,
                    // They have run when this is asked.
                    'restore' => static fn () => null,
                ],
                'autoloaders' => [
                    'about' => '`spl_autoload_register()`',
                    'capture' => static fn () => spl_autoload_functions(),
                    'restore' => static function (array $was): void {
                        if (spl_autoload_functions() === $was) {
                            return;
                        }
                        array_map(spl_autoload_unregister(...), spl_autoload_functions());
                        array_map(spl_autoload_register(...), $was);
                    },
                ],
                'libxml' => [
                    'about' => '`libxml_use_internal_errors()` and its errors, `libxml_set_external_entity_loader()`',
                    'capture' => static function (): ?array {
                        if (! function_exists('libxml_use_internal_errors')) {
                            return null;
                        }
                        libxml_use_internal_errors($was = libxml_use_internal_errors(false));

                        return [$was, libxml_get_external_entity_loader()];
                    },
                    'restore' => static function (?array $was): void {
                        if ($was === null) {
                            return;
                        }
                        if (libxml_use_internal_errors($was[0]) || $was[0]) {
                            libxml_clear_errors();
                        }
                        libxml_get_external_entity_loader() === $was[1] || libxml_set_external_entity_loader($was[1]);
                    },
                ],
                'random' => [
                    'about' => '`mt_srand()`, `srand()`: a seed ends with its call',
                    'capture' => static fn () => null,
                    'restore' => static fn () => mt_srand(),
                ],
                'stream_context' => [
                    'about' => '`stream_context_set_default()`: the process is replaced',
                    'capture' => static fn () => stream_context_get_params(stream_context_get_default()),
                    'restore' => static function (array $was): void {
                        stream_context_get_params(stream_context_get_default()) === $was || throw new Irrevocable();
                    },
                ],
                'stream_wrappers' => [
                    'about' => '`stream_wrapper_register()`, `stream_wrapper_unregister()`',
                    'capture' => static fn () => stream_get_wrappers(),
                    'restore' => static function (array $was): void {
                        $now = stream_get_wrappers();
                        if ($now === $was) {
                            return;
                        }
                        array_map(stream_wrapper_unregister(...), array_diff($now, $was));
                        foreach (array_diff($was, $now) as $missing) {
                            @stream_wrapper_restore($missing) || throw new Irrevocable($missing);
                        }
                        // The same names in another order: a call has replaced one by its own.
                        array_map(static fn (string $name) => @stream_wrapper_restore($name), array_diff_assoc($now, $was));
                    },
                ],
                'output' => [
                    'about' => 'output buffers; after `flush()` of output the process is replaced, since `header()` would fail from then on',
                    'capture' => static fn () => null,
                    'restore' => static function (): void {
                        $output = '';
                        while (ob_get_level() > 0) {
                            $output = ob_get_clean().$output;
                        }
                        if ($output !== '') {
                            fwrite(STDERR, strlen($output).' bytes of output in a call went nowhere: '.substr($output, 0, 300)."\n");
                        }
                        headers_sent() && throw new Irrevocable();
                    },
                ],
                'headers' => [
                    'about' => '`header()`, `http_response_code()`',
                    'capture' => static fn () => headers_list(),
                    'restore' => static function (array $was): void {
                        if (headers_list() !== $was && ! headers_sent()) {
                            header_remove();
                            array_map(header(...), $was);
                        }
                        http_response_code() === false || headers_sent() || http_response_code(200);
                    },
                ],
                'signals' => [
                    'about' => '`pcntl_signal()`, `pcntl_async_signals()`, `pcntl_sigprocmask()`',
                    'capture' => static fn () => self::signals(),
                    'restore' => static function (array $was): void {
                        if (($now = self::signals()) === $was) {
                            return;
                        }
                        foreach ($was['handlers'] as $index => $handler) {
                            $now['handlers'][$index] === $handler || pcntl_signal(self::SIGNALS[$index], $handler);
                        }
                        pcntl_sigprocmask(SIG_UNBLOCK, self::SIGNALS);
                        $was['blocked'] === [] || pcntl_sigprocmask(SIG_BLOCK, $was['blocked']);
                        pcntl_async_signals($was['async']);
                    },
                ],
                'timers' => [
                    'about' => '`pcntl_alarm()`',
                    'capture' => static fn () => function_exists('pcntl_alarm'),
                    'restore' => static function (bool $exists): void {
                        $exists && pcntl_alarm(0);
                    },
                ],
                'children' => [
                    'about' => 'child processes that have ended are waited for; those that run go on, as behind php-fpm',
                    'capture' => static fn () => function_exists('pcntl_waitpid'),
                    'restore' => static function (bool $exists): void {
                        while ($exists && pcntl_waitpid(-1, $status, WNOHANG) > 0) {
                            // The next one.
                        }
                    },
                ],
                'caches' => [
                    'about' => 'the stat cache (a file that changed); once a second the realpath cache (a link that moved)',
                    'capture' => static fn () => null,
                    'restore' => static function (): void {
                        // A path is resolved again after a second. php-fpm remembers it for two minutes.
                        static $next = 0;
                        $now = hrtime(true);
                        clearstatcache($now >= $next);
                        $now >= $next && $next = $now + self::REALPATH_NANOSECONDS;
                    },
                ],
                'last_error' => [
                    'about' => '`error_get_last()`',
                    'capture' => static fn () => null,
                    'restore' => static fn () => error_clear_last(),
                ],
                'descriptors' => [
                    'about' => 'open files, sockets and pipes: a process that keeps more than '.self::DESCRIPTORS_MAX.' of them is replaced',
                    'capture' => static fn () => self::descriptors(),
                    'restore' => static function (int $was): void {
                        self::descriptors() > $was + self::DESCRIPTORS_MAX && throw new Irrevocable();
                    },
                ],
            ];
        }

        private const SIGNALS = [1, 2, 3, 10, 12, 13, 14, 15, 17, 28];

        private static function isSuperglobal(string $name): bool
        {
            return in_array($name, ['_SERVER', '_ENV', '_GET', '_POST', '_COOKIE', '_FILES', '_REQUEST', '_SESSION', 'GLOBALS', 'argv', 'argc'], true);
        }

        private static function globals(): array
        {
            $globals = [];
            foreach ($GLOBALS as $name => $value) {
                self::isSuperglobal($name) || $globals[$name] = $value;
            }

            return $globals;
        }

        private static function encodings(): array
        {
            return ! extension_loaded('mbstring') ? [] : [
                'mb_internal_encoding' => mb_internal_encoding(),
                'mb_language' => mb_language(),
                'mb_substitute_character' => mb_substitute_character(),
                'mb_detect_order' => mb_detect_order(),
                'mb_http_output' => mb_http_output(),
            ] + (function_exists('mb_regex_encoding') ? ['mb_regex_encoding' => mb_regex_encoding()] : []);
        }

        private static function errorHandler(): mixed
        {
            $handler = set_error_handler(null);
            restore_error_handler();

            return $handler;
        }

        private static function exceptionHandler(): mixed
        {
            $handler = set_exception_handler(null);
            restore_exception_handler();

            return $handler;
        }

        private static function signals(): array
        {
            if (! function_exists('pcntl_signal_get_handler')) {
                return [];
            }
            $handlers = [pcntl_signal_get_handler(1), pcntl_signal_get_handler(2), pcntl_signal_get_handler(3), pcntl_signal_get_handler(10),
                pcntl_signal_get_handler(12), pcntl_signal_get_handler(13), pcntl_signal_get_handler(14), pcntl_signal_get_handler(15),
                pcntl_signal_get_handler(17), pcntl_signal_get_handler(28)];
            // Adding nothing new tells what is blocked.
            pcntl_sigprocmask(SIG_UNBLOCK, [SIGURG], $blocked);

            return ['handlers' => $handlers, 'blocked' => array_values(array_diff($blocked, [SIGURG])), 'async' => pcntl_async_signals()];
        }

        private static function descriptors(): int
        {
            return count(get_resources());
        }
    }
}
