<?php

namespace App\Providers;

use App\Support\DyingPdo;
use App\Support\Keeper;
use App\Support\Proofs;
use Illuminate\Database\SQLiteConnection;
use Illuminate\Support\ServiceProvider;

/** What providers do: closures that keep the application, singletons, and, with DIFFYNE_TEST_BOOT, every change of isolation.php. */
class IsolationProvider extends ServiceProvider
{
    private array $shared = [];

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
        $this->app['left.keeper']->kept = &$this->shared;
        Keeper::get();
        config(['database.connections.dying' => ['driver' => 'dying', 'database' => base_path('database/database.sqlite'), 'prefix' => '']]);
        $this->app['db']->extend('dying', static fn (array $config, string $name): SQLiteConnection => new SQLiteConnection(
            static fn () => new DyingPdo('sqlite:'.$config['database']),
            $config['database'],
            '',
            $config + ['name' => $name],
        ));
        // What a provider changes holds for all calls.
        foreach (getenv('DIFFYNE_TEST_BOOT') === 'all' ? require base_path('isolation.php') : [] as $kind => $proof) {
            Proofs::run($kind, array_key_exists('boot', $proof) ? 'boot' : 'change');
        }
    }
}
