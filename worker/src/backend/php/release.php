<?php

/*
 * The release of an application: what pages that it has rendered before notice of a deploy. Comes over standard input,
 * before loop.php.
 */

namespace Diffyne\Cluster\Loop {

    use FilesystemIterator;
    use RecursiveDirectoryIterator;
    use RecursiveIteratorIterator;
    use Throwable;

    final class Release
    {
        /** An application with more files has to name its releases (DIFFYNE_RELEASE). */
        private const FILES_MAX = 10000;

        /** The hash of the view files and of the components' classes; empty when there are too many, or they cannot be read. */
        public static function ofApplication(): string
        {
            try {
                $namespace = trim((string) config('diffyne.component_namespace', 'App\\Diffyne'), '\\');
                $components = app_path(strtr(substr(strstr($namespace.'\\', '\\'), 1, -1), '\\', '/'));

                return self::ofFolders([...(array) config('view.paths'), $components]);
            } catch (Throwable) {
                return '';
            }
        }

        private static function ofFolders(array $folders): string
        {
            $hashes = [];
            foreach (array_filter($folders, 'is_dir') as $number => $folder) {
                $files = new RecursiveDirectoryIterator($folder, FilesystemIterator::SKIP_DOTS);
                foreach (new RecursiveIteratorIterator($files) as $path => $file) {
                    if (! $file->isFile()) {
                        continue;
                    }
                    if (count($hashes) === self::FILES_MAX) {
                        return '';
                    }
                    $hashes[$number.substr($path, strlen($folder))] = md5_file($path);
                }
            }
            ksort($hashes, SORT_STRING);

            return $hashes === [] ? '' : substr(md5(serialize($hashes)), 0, 16);
        }
    }
}
