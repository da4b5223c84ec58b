<?php

namespace App\Providers;

use App\Support\DyingPdo;
use App\Support\Keeper;
use App\Support\Modern;
use App\Support\ModernChild;
use App\Support\Proofs;
use Illuminate\Database\SQLiteConnection;
use Illuminate\Support\ServiceProvider;

/** What providers do: closures that keep the application, singletons, and, with DIFFYNE_TEST_BOOT, every change of isolation.php. */
class IsolationProvider extends ServiceProvider
{
    private array $shared = [];

    /** What PHP has since 8.4, and closures with variables of their own. */
    private function bootModern(): void
    {
        foreach (['modern' => Modern::class, 'final' => ModernChild::class] as $name => $class) {
            $this->app->instance("left.$name", new $class());
        }
        $this->app['left.keeper']->dynamic = 'boot';
        $this->app->instance('left.ghost', (new \ReflectionClass(Keeper::class))->newLazyGhost(static function (Keeper $keeper): void {
            $keeper->value = 'user of '.getmypid();
        }));
        $this->app->instance('left.proxy', (new \ReflectionClass(Keeper::class))->newLazyProxy(static fn (): Keeper => new Keeper()));
        $lazy = (new \ReflectionClass(Keeper::class))->newLazyGhost(static fn () => throw new \RuntimeException('never'));
        (new \ReflectionProperty(Keeper::class, 'value'))->setRawValueWithoutLazyInitialization($lazy, 'boot');
        $this->app->instance('left.lazy', $lazy);
        $shared = 'boot';
        $this->app->instance('left.write', function (string $value) use (&$shared): void {
            $shared = $value;
        });
        $this->app->instance('left.read', function () use (&$shared): string {
            return $shared;
        });
        $this->app->instance('left.count', static function (): int {
            static $count = 0;

            return ++$count;
        });
    }

    public function boot(): void
    {
        config(['auth.providers.users' => ['driver' => 'database', 'table' => 'users']]);
        $this->app->singleton('left.service', static fn () => new \ArrayObject());
        $this->app->singleton('left.keeper', static fn () => new Keeper());
        $this->app->make('left.service');
        $this->app->make('left.keeper');
        $this->app->instance('left.locale', fn () => $this->app->getLocale());
        $this->app->instance('left.request', fn () => $this->app['request']);
        $this->app->instance('left.session', fn () => $this->app['session']);
        $this->app->instance('left.once', static fn () => function_exists('once') ? once(static fn () => bin2hex(random_bytes(8))) : bin2hex(random_bytes(8)));
        $held = new Keeper();
        $this->app->instance('left.closure', static fn (?string $value): ?string => $value === null ? $held->value : $held->value = $value);
        $this->app->instance('left.queue', new \SplQueue());
        $this->bootModern();
        $this->app['left.keeper']->kept = &$this->shared;
        Keeper::get();
        config(['database.redis.kept' => config('database.redis.default')]);
        config(['database.connections.dying' => ['driver' => 'dying', 'database' => base_path('database/database.sqlite'), 'prefix' => '']]);
        $this->app['db']->extend('dying', static fn (array $config, string $name): SQLiteConnection => new SQLiteConnection(
            static fn () => new DyingPdo('sqlite:'.$config['database']),
            $config['database'],
            '',
            $config + ['name' => $name],
        ));
        if (env('MARIADB_PORT') !== null) {
            $maria = ['driver' => 'mysql', 'host' => '127.0.0.1', 'port' => env('MARIADB_PORT'), 'database' => 'app', 'username' => 'app', 'password' => 'x', 'charset' => 'utf8mb4', 'collation' => 'utf8mb4_general_ci', 'prefix' => ''];
            config(['database.connections.maria' => $maria, 'database.connections.kept' => $maria]);
            // Held as the handler of database sessions holds its connection.
            $this->app->instance('left.maria', $this->app['db']->connection('maria'));
            $this->app['db']->connection('kept')->statement('set @left = 1, session wait_timeout = 28800');
        }
        if (env('REDIS_PORT') !== null) {
            $this->app->instance('left.redis', $this->app['redis']->connection('kept'));
        }
        // What a provider changes holds for all calls.
        foreach (getenv('DIFFYNE_TEST_BOOT') === 'all' ? require base_path('isolation.php') : [] as $kind => $proof) {
            Proofs::run($kind, array_key_exists('boot', $proof) ? 'boot' : 'change');
        }
    }
}
