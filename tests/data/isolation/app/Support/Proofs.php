<?php

namespace App\Support;

use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Redis;

/** Runs the code of isolation.php. */
class Proofs
{
    private const IMPORTS = 'use Carbon\Carbon; use Illuminate\Database\Eloquent\Model; use Illuminate\Database\Eloquent\Relations\Relation; '
        .'use Illuminate\Http\Request; use Illuminate\Support\{Collection, Str}; use Illuminate\Support\Facades\{App, Auth, Blade, Bus, Cache, '
        .'Cookie, Crypt, Date, DB, Event, Gate, Hash, Http, Lang, Log, Mail, Queue, RateLimiter, Redis, Route, Storage, URL, Validator, View}; ';

    public static function run(string $kind, string $part): mixed
    {
        $code = self::all()[$kind][$part] ?? '';

        return $code === '' ? null : eval(self::IMPORTS.$code);
    }

    public static function all(): array
    {
        return (require base_path('isolation.php')) + (require base_path('redis.php')) + (require base_path('mariadb.php'));
    }

    /** What Redis says of the connection. */
    public static function redisInfo(string $name): string
    {
        preg_match("/ $name=(\S*)/", (string) Redis::executeRaw(['CLIENT', 'INFO']), $found);

        return $found[1] ?? '';
    }

    /** Another client of the same Redis. */
    public static function otherRedis(string $code): string
    {
        $connect = '$r = new Redis(); $r->connect("127.0.0.1", '.(int) env('REDIS_PORT').'); ';

        return (string) shell_exec('php8.4 -r '.escapeshellarg($connect.$code));
    }

    /** Runs statements over another connection to MariaDB; the last one's first value. */
    public static function otherMaria(string ...$statements): mixed
    {
        $pdo = new \PDO('mysql:host=127.0.0.1;port='.env('MARIADB_PORT').';dbname=app', 'app', 'x');
        foreach ($statements as $statement) {
            $value = $pdo->query($statement)->fetchColumn();
        }

        return $value;
    }

    /** Ends Laravel's connection to MariaDB as its server does. */
    public static function killMaria(): void
    {
        $id = self::mariaId();
        self::otherMaria("kill $id");
        self::waitUntilGone($id);
    }

    public static function waitUntilGone(int $id): void
    {
        for ($tries = 0; $tries < 3000 && self::otherMaria("select count(*) from information_schema.processlist where id = $id") > 0; $tries++) {
            usleep(10_000);
        }
    }

    public static function mariaId(): int
    {
        return DB::connection('maria')->selectOne('select connection_id() as id')->id;
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
