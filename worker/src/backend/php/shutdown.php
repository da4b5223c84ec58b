<?php

/*
 * Functions that calls register to be run at the end of their request. Comes over standard input, after source_files.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use ReflectionMethod;
    use Throwable;

    /**
     * What a call gives to register_shutdown_function() runs after its reply.
     *
     * PHP runs such functions when the process ends, and lets nobody see or remove them. But a function that is called
     * without a backslash is first looked for in the namespace of the caller. So the namespaces of all files that call this
     * one get a function of its name. A call with a backslash, or from a file without a namespace, reaches PHP's own.
     */
    final class ShutdownFunctions
    {
        private const NAME = 'register_shutdown_function';

        private const NAMESPACES = '/^\s*(?:<\?php\s+)?namespace\s+([\w\\\\]+)\s*[;{]/mi';

        /** @var list<Closure> */
        private static array $registered = [];

        /** Whether a call runs, whose functions are kept. */
        private static bool $isCall = false;

        private static bool $isRunning = false;

        /** Gives the function to the namespaces of a file that calls it. */
        public static function learn(string $code): void
        {
            if (! str_contains($code, self::NAME) || preg_match_all(self::NAMESPACES, $code, $found) === 0) {
                return;
            }
            foreach ($found[1] as $namespace) {
                function_exists($namespace.'\\'.self::NAME) || self::define($namespace);
            }
        }

        private static function define(string $namespace): void
        {
            $name = self::NAME;
            eval("namespace $namespace; function $name(\$callback, ...\$arguments): void { \\".self::class.'::register($callback, $arguments); }');
        }

        public static function register(mixed $callback, array $arguments): void
        {
            // Its caller may be the only one who can call a private method.
            if (is_array($callback) && ! is_callable($callback) && count($callback) === 2 && method_exists(...$callback)) {
                $callback = (new ReflectionMethod(...$callback))->getClosure(is_object($callback[0]) ? $callback[0] : null);
            }
            if (! self::$isCall || ! is_callable($callback)) {
                \register_shutdown_function($callback, ...$arguments);

                return;
            }
            self::$registered[] = static fn () => $callback(...$arguments);
        }

        public static function beginCall(): void
        {
            self::$isCall = true;
        }

        /**
         * Runs what the call has registered, in its order, and what that registers. As at the end of a request, none hinders
         * the others by an exception, and `exit` in one is the end.
         *
         * @param Closure(Throwable): void $report
         */
        public static function run(Closure $report): void
        {
            while (($function = array_shift(self::$registered)) !== null && ! self::$isRunning) {
                self::$isRunning = true;
                try {
                    $function();
                } catch (Throwable $error) {
                    $report($error);
                }
                self::$isRunning = false;
            }
            self::$isCall = false;
        }
    }
}
