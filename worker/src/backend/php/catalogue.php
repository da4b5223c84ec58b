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
     * `read` lists the expressions that tell the state. All of them are compiled into one function, which compares them
     * after a call with what they were; `restore` runs where one differs, and gets the list of what they were. Where no
     * expression tells, or it costs more than putting the state back, `read` is missing, and `restore` runs after each
     * call. It throws Irrevocable where PHP gives no way to put something back. With `named`, it runs only once a file
     * has been included that names one of these functions.
     *
     * A new kind is a new entry here and a proof of the same name in the tests (tests/data/isolation). The table in
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

        private const SIGNALS = [1, 2, 3, 10, 12, 13, 14, 15, 17, 28];

        /** @var array<string, array{Closure, Closure, list<mixed>}> by kind: how to put it back, how to read it, and what it was */
        private array $readable = [];

        /** @var array<string, Closure> how to put back what nothing tells */
        private array $others = [];

        /** @var array<string, array{list<string>, Closure}> the same for what only some functions change, which no file has named yet */
        private array $unlessNamed = [];

        /** @var array<string, array> global variables that are arrays: a comparison sees neither their position nor their next key */
        private array $globalArrays = [];

        /** Tells whether all expressions are what they were. */
        private Closure $compare;

        /** @var list<mixed> what all expressions were */
        private array $values = [];

        public function __construct()
        {
            $comparisons = [];
            foreach (self::kinds() as $name => $kind) {
                if (isset($kind['named'])) {
                    $this->unlessNamed[$name] = [$kind['named'], $kind['restore']];
                    continue;
                }
                if (! isset($kind['read'])) {
                    $this->others[$name] = $kind['restore'];
                    continue;
                }
                $read = self::compiled('(): array => ['.implode(', ', $kind['read']).']');
                $values = self::dereferenced($read());
                $this->readable[$name] = [$kind['restore'], $read, $values];
                foreach ($kind['read'] as $index => $expression) {
                    $comparisons[] = "$expression === \$values[".count($this->values).']';
                    $this->values[] = $values[$index];
                }
            }
            $this->globalArrays = array_map(self::dereferenced(...), array_filter($GLOBALS, is_array(...)));
            $this->compare = self::compiled('(array $values): bool => '.implode(' && ', $comparisons));
        }

        /** Compiled, all reads take half as long as one after the other. */
        private static function compiled(string $function): Closure
        {
            return Closure::bind(eval("return static fn $function;"), null, self::class);
        }

        /** An array without references, which would change along. One that has none stays the same, which compares faster. */
        private static function dereferenced(array $values): array
        {
            if (! self::hasReference($values)) {
                return $values;
            }
            $copy = [];
            foreach ($values as $name => $value) {
                $copy[$name] = is_array($value) ? self::dereferenced($value) : $value;
            }

            return $copy;
        }

        private static function hasReference(array $values): bool
        {
            foreach ($values as $name => $value) {
                if (\ReflectionReference::fromArrayElement($values, $name) !== null || (is_array($value) && self::hasReference($value))) {
                    return true;
                }
            }

            return false;
        }

        /** Puts everything back. Returns the kind that could not be, if there is one. */
        public function restore(): ?string
        {
            $lost = $this->isUnchanged() ? null : $this->restoreReadable();
            foreach ($this->globalArrays as $name => $value) {
                $GLOBALS[$name] = $value;
            }
            foreach ($this->unlessNamed as $name => [$functions, $restore]) {
                if (SourceFiles::name(...$functions)) {
                    $this->others[$name] = $restore;
                    unset($this->unlessNamed[$name]);
                }
            }
            foreach ($this->others as $name => $restore) {
                try {
                    $restore();
                } catch (Throwable $error) {
                    $lost ??= self::lost($name, $error);
                }
            }

            return $lost;
        }

        private function isUnchanged(): bool
        {
            try {
                return ($this->compare)($this->values);
            } catch (Throwable) {
                // Of an error handler that a call has set.
                return false;
            }
        }

        private function restoreReadable(): ?string
        {
            $lost = null;
            foreach ($this->readable as $name => [$restore, $read, $was]) {
                try {
                    $read() === $was || $restore($was);
                    $this->readable[$name][2] = array_map(self::reordered(...), $read(), $was);
                } catch (Throwable $error) {
                    $lost ??= self::lost($name, $error);
                }
            }
            $this->values = array_merge(...array_column($this->readable, 2));

            return $lost;
        }

        /** What something was, in its present order where that alone differs: a variable that comes back comes last. */
        private static function reordered(mixed $now, mixed $was): mixed
        {
            if (! is_array($now) || ! is_array($was) || $now === $was || count($now) !== count($was)) {
                return $was;
            }
            foreach ($was as $name => $value) {
                if (! array_key_exists($name, $now) || $now[$name] !== $value) {
                    return $was;
                }
            }

            return self::dereferenced($now);
        }

        private static function lost(string $name, Throwable $error): string
        {
            $error instanceof Irrevocable || fwrite(STDERR, "$name cannot be put back: {$error->getMessage()}\n");

            return $name;
        }

        /** @return array<string, array{about: string, named?: list<string>, read?: list<string>, restore: Closure}> */
        public static function kinds(): array
        {
            return [...self::kindsOfValues(), ...self::kindsOfHandlers(), ...self::kindsOfOutput(), ...self::kindsOfProcess()];
        }

        /** Variables and settings. */
        private static function kindsOfValues(): array
        {
            return [
                'superglobals' => [
                    'about' => '`$_SERVER`, `$_ENV`, `$_GET`, `$_POST`, `$_COOKIE`, `$_FILES`, `$_REQUEST`, `$_SESSION`',
                    'read' => ['$_SERVER', '$_ENV', '$_GET', '$_POST', '$_COOKIE', '$_FILES', '$_REQUEST', "isset(\$GLOBALS['_SESSION'])"],
                    'restore' => static function (array $was): void {
                        [$_SERVER, $_ENV, $_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST] = $was;
                        unset($GLOBALS['_SESSION']);
                    },
                ],
                'globals' => [
                    'about' => 'global variables',
                    'read' => ['$GLOBALS'],
                    'restore' => static function (array $was): void {
                        foreach (array_diff_key($GLOBALS, $was[0]) as $name => $_) {
                            unset($GLOBALS[$name]);
                        }
                        foreach ($was[0] as $name => $value) {
                            $GLOBALS[$name] = $value;
                        }
                    },
                ],
                'environment' => [
                    'about' => '`putenv()`',
                    'read' => ['getenv()'],
                    'restore' => static function (array $was): void {
                        $now = getenv();
                        foreach (array_diff_key($now, $was[0]) as $name => $_) {
                            putenv($name);
                        }
                        foreach (array_diff_assoc($was[0], $now) as $name => $value) {
                            putenv("$name=$value");
                        }
                    },
                ],
                'ini' => self::ini(),
                'time_limit' => [
                    'about' => '`set_time_limit()`',
                    'restore' => self::timeLimit((int) ini_get('max_execution_time')),
                ],
                'time_zone' => [
                    'about' => '`date_default_timezone_set()`',
                    'read' => ['date_default_timezone_get()'],
                    'restore' => static fn (array $was) => date_default_timezone_set($was[0]),
                ],
                'locale' => [
                    'about' => '`setlocale()` and the default locale of `intl`',
                    'read' => ["setlocale(LC_ALL, '0')", ...(class_exists(\Locale::class, false) ? ['Locale::getDefault()'] : [])],
                    'restore' => static function (array $was): void {
                        setlocale(LC_ALL, '0') === $was[0] || setlocale(LC_ALL, $was[0]);
                        ! isset($was[1]) || \Locale::getDefault() === $was[1] || \Locale::setDefault($was[1]);
                    },
                ],
                'encodings' => [
                    'about' => '`mb_internal_encoding()`, `mb_language()`, `mb_substitute_character()`, `mb_detect_order()`, `mb_http_output()`, `mb_regex_encoding()`',
                    'read' => array_map(static fn (string $function) => "$function()", self::encodings()),
                    'restore' => static function (array $was): void {
                        foreach (self::encodings() as $index => $function) {
                            $function() === $was[$index] || $function($was[$index]);
                        }
                    },
                ],
            ];
        }

        private static function ini(): array
        {
            $isWanted = static fn (array $entry, string $name): bool => ($entry['access'] & INI_USER) !== 0
                && preg_match(self::INI_IGNORED, $name) === 0;
            $names = array_keys(array_filter(ini_get_all(), $isWanted, ARRAY_FILTER_USE_BOTH));

            return [
                'about' => '`ini_set()`, `error_reporting()`',
                'read' => array_map(static fn (string $name) => "ini_get('$name')", $names),
                'restore' => static function (array $was) use ($names): void {
                    foreach ($names as $index => $name) {
                        if (ini_get($name) === $was[$index]) {
                            continue;
                        }
                        @ini_set($name, (string) $was[$index]);
                        ini_get($name) === $was[$index] || ini_restore($name);
                        ini_get($name) === $was[$index] || throw new Irrevocable($name);
                    }
                },
            ];
        }

        /** A limit begins anew for each call. Where there is none, the setting tells of one that a call has set. */
        private static function timeLimit(int $seconds): Closure
        {
            return static fn (): bool => $seconds === 0 || set_time_limit($seconds);
        }

        /** What PHP calls when something happens, and where it looks for things. */
        private static function kindsOfHandlers(): array
        {
            return [
                'directory' => [
                    'about' => '`chdir()`',
                    'read' => ['getcwd()'],
                    'restore' => static fn (array $was) => chdir($was[0]) || throw new Irrevocable($was[0]),
                ],
                'umask' => [
                    'about' => '`umask()`',
                    'read' => ['umask()'],
                    'restore' => static fn (array $was) => umask($was[0]),
                ],
                'error_handler' => [
                    'about' => '`set_error_handler()`',
                    'read' => ['self::errorHandler()'],
                    'restore' => static function (array $was): void {
                        for ($handler = self::errorHandler(); $handler !== $was[0] && $handler !== null; $handler = self::errorHandler()) {
                            restore_error_handler();
                        }
                        $handler === $was[0] || set_error_handler($was[0]);
                    },
                ],
                'exception_handler' => [
                    'about' => '`set_exception_handler()`',
                    'read' => ['self::exceptionHandler()'],
                    'restore' => static function (array $was): void {
                        for ($handler = self::exceptionHandler(); $handler !== $was[0] && $handler !== null; $handler = self::exceptionHandler()) {
                            restore_exception_handler();
                        }
                        $handler === $was[0] || set_exception_handler($was[0]);
                    },
                ],
                'shutdown_functions' => [
                    'about' => '`register_shutdown_function()`: they run after the call; called with a backslash (`\register_shutdown_function()`) or without a namespace, when the process ends',
                    // They have run when this is asked.
                    'restore' => static fn () => null,
                ],
                'autoloaders' => [
                    'about' => '`spl_autoload_register()`',
                    'read' => ['spl_autoload_functions()'],
                    'restore' => static function (array $was): void {
                        array_map(spl_autoload_unregister(...), spl_autoload_functions());
                        array_map(spl_autoload_register(...), $was[0]);
                    },
                ],
                'libxml' => self::libxml(),
                'random' => [
                    'about' => '`mt_srand()`, `srand()`: a seed ends with its call',
                    'named' => ['srand', 'mt_srand'],
                    'restore' => static fn () => mt_srand(),
                ],
                'stream_context' => [
                    'about' => '`stream_context_set_default()`: the process is replaced',
                    'read' => ['stream_context_get_params(stream_context_get_default())'],
                    'restore' => static fn () => throw new Irrevocable(),
                ],
                'stream_wrappers' => [
                    'about' => '`stream_wrapper_register()`, `stream_wrapper_unregister()`',
                    'read' => ['stream_get_wrappers()'],
                    'restore' => static function (array $was): void {
                        $now = stream_get_wrappers();
                        array_map(stream_wrapper_unregister(...), array_diff($now, $was[0]));
                        foreach (array_diff($was[0], $now) as $missing) {
                            @stream_wrapper_restore($missing) || throw new Irrevocable($missing);
                        }
                        // The same names in another order: a call has replaced one by its own.
                        array_map(static fn (string $name) => @stream_wrapper_restore($name), array_diff_assoc($now, $was[0]));
                    },
                ],
            ];
        }

        private static function libxml(): array
        {
            $exists = function_exists('libxml_use_internal_errors');
            $hasLoader = function_exists('libxml_get_external_entity_loader');
            $exists && libxml_clear_errors();
            // The last error is another object each time, and `false` when there is none.
            $read = ['libxml_use_internal_errors()', 'libxml_get_last_error()', ...($hasLoader ? ['libxml_get_external_entity_loader()'] : [])];

            return [
                'about' => '`libxml_use_internal_errors()` and its errors, `libxml_set_external_entity_loader()`',
                'read' => $exists ? $read : [],
                'restore' => static function (array $was) use ($hasLoader): void {
                    libxml_clear_errors();
                    libxml_use_internal_errors($was[0]);
                    ! $hasLoader || libxml_get_external_entity_loader() === $was[2] || libxml_set_external_entity_loader($was[2]);
                },
            ];
        }

        /** What goes to whoever runs PHP. */
        private static function kindsOfOutput(): array
        {
            return [
                'output' => [
                    'about' => 'output buffers; after `flush()` of output the process is replaced, since `header()` would fail from then on',
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
                    // Nothing makes it tell `false` again, as before the first call that has set it.
                    'read' => ['headers_list()', '(http_response_code() ?: 200)'],
                    'restore' => static function (array $was): void {
                        if (headers_list() !== $was[0] && ! headers_sent()) {
                            header_remove();
                            array_map(header(...), $was[0]);
                        }
                        http_response_code() === false || headers_sent() || http_response_code($was[1]);
                    },
                ],
            ];
        }

        /** What the system knows of the process, and PHP's own memories. */
        private static function kindsOfProcess(): array
        {
            return [
                'signals' => self::signals(),
                'timers' => [
                    'about' => '`pcntl_alarm()`',
                    'named' => ['pcntl_alarm'],
                    'restore' => function_exists('pcntl_alarm') ? static fn () => pcntl_alarm(0) : static fn () => null,
                ],
                'children' => [
                    'about' => 'child processes that have ended are waited for; those that run go on, as behind php-fpm',
                    'restore' => ! function_exists('pcntl_waitpid') ? static fn () => null : static function (): void {
                        while (pcntl_waitpid(-1, $status, WNOHANG) > 0) {
                            // The next one.
                        }
                    },
                ],
                'caches' => [
                    'about' => 'the stat cache (a file that changed); once a second the realpath cache (a link that moved)',
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
                    'restore' => static fn () => error_clear_last(),
                ],
                'descriptors' => [
                    'about' => 'open files, sockets and pipes: a process that keeps more than '.self::DESCRIPTORS_MAX.' of them is replaced',
                    'restore' => self::descriptors(count(get_resources()) + self::DESCRIPTORS_MAX),
                ],
            ];
        }

        private static function descriptors(int $most): Closure
        {
            return static fn (): bool => count(get_resources()) <= $most || throw new Irrevocable();
        }

        private static function signals(): array
        {
            $read = array_map(static fn (int $signal) => "pcntl_signal_get_handler($signal)", self::SIGNALS);

            return [
                'about' => '`pcntl_signal()`, `pcntl_async_signals()`, `pcntl_sigprocmask()`',
                'read' => function_exists('pcntl_signal_get_handler') ? [...$read, 'pcntl_async_signals()', 'self::blockedSignals()'] : [],
                'restore' => static function (array $was): void {
                    foreach (self::SIGNALS as $index => $signal) {
                        pcntl_signal_get_handler($signal) === $was[$index] || pcntl_signal($signal, $was[$index]);
                    }
                    [$async, $blocked] = array_slice($was, count(self::SIGNALS));
                    pcntl_sigprocmask(SIG_UNBLOCK, self::SIGNALS);
                    $blocked === [] || pcntl_sigprocmask(SIG_BLOCK, $blocked);
                    pcntl_async_signals($async);
                },
            ];
        }

        /** @return list<int> */
        private static function blockedSignals(): array
        {
            // Adding nothing new tells what is blocked.
            pcntl_sigprocmask(SIG_UNBLOCK, [SIGURG], $blocked);

            return $blocked === [] ? [] : array_values(array_diff($blocked, [SIGURG]));
        }

        /** @return list<string> functions that tell an encoding, and set it */
        private static function encodings(): array
        {
            $names = ['mb_internal_encoding', 'mb_language', 'mb_substitute_character', 'mb_detect_order', 'mb_http_output', 'mb_regex_encoding'];

            return array_values(array_filter($names, function_exists(...)));
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
    }
}
