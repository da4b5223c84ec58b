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

    /** In a static variable, which PHP lets nobody put back. */
    public static function keepFilesOpen(): void
    {
        static $open = [];
        for ($count = 0; $count < 100; $count++) {
            $open[] = fopen('/dev/null', 'r');
        }
    }
}
