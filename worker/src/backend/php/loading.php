<?php

/*
 * Files of classes that are loaded during calls. Comes over standard input, after snapshot.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;

    /** The first of all class loaders. It has the others load a class, and knows what loading has changed. */
    final class ClassLoading
    {
        /** Classes whose loading has begun: a class may load others, its parent for example. */
        private int $depth = 0;

        private Closure $loader;

        public function __construct(private Snapshot $snapshot)
        {
            $this->loader = $this->load(...);
            spl_autoload_register($this->loader, true, true);
        }

        private function load(string $class): void
        {
            $this->depth++;
            try {
                if ($this->depth > 1) {
                    $this->askOthers($class);
                } else {
                    $this->snapshot->loadClass(fn () => $this->askOthers($class));
                    SourceFiles::learn();
                }
            } finally {
                $this->depth--;
            }
        }

        /** Asks the loaders after this one until the class is there. Where none has it, PHP asks them again. */
        private function askOthers(string $class): void
        {
            $loaders = spl_autoload_functions();
            foreach (array_slice($loaders, 1 + (int) array_search($this->loader, $loaders, true)) as $loader) {
                // PHP can call one of another class's private methods.
                is_callable($loader) && $loader($class);
                if (class_exists($class, false) || interface_exists($class, false) || trait_exists($class, false)) {
                    return;
                }
            }
        }
    }
}
