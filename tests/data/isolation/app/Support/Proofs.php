<?php

namespace App\Support;

/** Runs the code of isolation.php. */
class Proofs
{
    private const IMPORTS = 'use Carbon\Carbon; use Illuminate\Database\Eloquent\Model; use Illuminate\Database\Eloquent\Relations\Relation; '
        .'use Illuminate\Http\Request; use Illuminate\Support\{Collection, Str}; use Illuminate\Support\Facades\{App, Auth, Blade, Bus, Cache, '
        .'Cookie, Crypt, Date, DB, Event, Gate, Hash, Http, Lang, Log, Mail, Queue, RateLimiter, Route, Storage, URL, Validator, View}; ';

    public static function run(string $kind, string $part): mixed
    {
        $code = (require base_path('isolation.php'))[$kind][$part] ?? '';

        return $code === '' ? null : eval(self::IMPORTS.$code);
    }

    /** Has the end of the request counted. The file says how many ends are missing. */
    public static function countAtShutdown(): void
    {
        file_put_contents(base_path('registered'), '1', FILE_APPEND);
        register_shutdown_function([self::class, 'count'], 'ended');
        register_shutdown_function(static fn () => throw new \RuntimeException('at shutdown'));
        register_shutdown_function(static function (): void {
            register_shutdown_function(static fn () => self::count('ended too'));
        });
    }

    private static function count(string $file): void
    {
        file_put_contents(base_path($file), '1', FILE_APPEND);
    }

    /** @return list<int> requests that have registered a function, and how many have not ended */
    public static function missingShutdowns(): array
    {
        [$registered, $ended, $endedToo] = array_map(static fn (string $file) => strlen((string) @file_get_contents(base_path($file))), ['registered', 'ended', 'ended too']);

        return [$registered - $ended, $registered - $endedToo];
    }

    /** In a static variable, which PHP lets nobody put back. */
    public static function keepFilesOpen(): void
    {
        static $open = [];
        for ($count = 0; $count < 100; $count++) {
            $open[] = fopen('/dev/null', 'r');
        }
    }
}
