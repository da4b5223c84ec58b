<?php

/*
 * What can be told from the text of the files that have been included. Comes over standard input, after snapshot.php.
 */

namespace Diffyne\Cluster\Loop {

    /** Reads each included file once. */
    final class SourceFiles
    {
        /** Functions whose effect costs more to put back than to know that no file names them. */
        private const FUNCTIONS = ['srand', 'mt_srand', 'pcntl_alarm'];

        /** Loaders of code that is no text. */
        private const ENCODERS = ['ionCube Loader', 'SourceGuardian', 'Zend Guard Loader'];

        /** Files that have been looked at. */
        private static int $files = 0;

        /** @var array<string, true> those of the functions that a file names, in whatever case */
        private static array $named = [];

        /** Looks at the files that have been included since. */
        public static function learn(): void
        {
            $files = get_included_files();
            $new = array_slice($files, self::$files);
            self::$files = count($files);
            foreach ($new as $file) {
                $code = @file_get_contents($file);
                if ($code === false) {
                    // Whatever it was; but this program is no file.
                    str_contains($file, '/') && self::nameAll();
                    continue;
                }
                if (count(self::$named) < count(self::FUNCTIONS) && preg_match_all('/\b(?:'.implode('|', self::FUNCTIONS).')\b/i', $code, $found) > 0) {
                    self::$named += array_fill_keys(array_map(strtolower(...), $found[0]), true);
                }
                ShutdownFunctions::learn($code);
            }
        }

        /** Whether some file names one of these functions, or might. */
        public static function name(string ...$functions): bool
        {
            return array_intersect_key(self::$named, array_flip($functions)) !== [];
        }

        /** Takes for granted that files which cannot be read name every function. */
        public static function expectEncoded(): void
        {
            array_filter(self::ENCODERS, extension_loaded(...)) === [] || self::nameAll();
        }

        private static function nameAll(): void
        {
            self::$named = array_fill_keys(self::FUNCTIONS, true);
        }
    }
}
