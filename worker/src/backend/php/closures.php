<?php

/*
 * The variables that closures keep from call to call. Comes over standard input, after properties.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use ReflectionFunction;

    /**
     * The static variables of closures, and those that they have by reference.
     *
     * PHP lets nobody write to them, unless somebody else has the same reference. So only closures of the application itself
     * are watched, whose variables may hold what belongs to a user; packages keep memories of pure functions there.
     */
    final class ClosureVariables
    {
        /** @var list<array{ReflectionFunction, array<string, mixed>}> */
        private array $closures = [];

        public function __construct(private string $directory)
        {
        }

        /** @return list<mixed> what a closure holds */
        public function take(Closure $closure): array
        {
            $function = new ReflectionFunction($closure);
            $variables = $function->getStaticVariables();
            if ($variables !== [] && self::isOwnFile((string) $function->getFileName(), $this->directory)) {
                // By-value variables never change. PHP does not tell them from others.
                $copy = [];
                foreach ($variables as $name => $value) {
                    $copy[$name] = $value;
                }
                $this->closures[] = [$function, $copy];
            }

            return [$function->getClosureThis(), ...array_values($variables)];
        }

        /** Puts back what can be. Returns whether all of it could. */
        public function restore(): bool
        {
            $isWhole = true;
            foreach ($this->closures as [$function, $was]) {
                $now = $function->getStaticVariables();
                if ($now === $was) {
                    continue;
                }
                foreach ($was as $name => $value) {
                    // Where the variable is a reference that somebody else has as well, this assigns to it.
                    $now[$name] = $value;
                }
                unset($now);
                if ($function->getStaticVariables() !== $was) {
                    fwrite(STDERR, "a variable of a closure in {$function->getFileName()}:{$function->getStartLine()} cannot be put back\n");
                    $isWhole = false;
                }
            }

            return $isWhole;
        }

        /** Whether a file is the application's own, and of no package. */
        public static function isOwnFile(string $file, string $directory): bool
        {
            return str_starts_with($file, $directory.'/') && ! str_starts_with($file, $directory.'/vendor/');
        }
    }
}
