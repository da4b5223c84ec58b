<?php

namespace Diffyne\Cluster\Providers;

use Diffyne\Cluster\Bridge;
use Diffyne\Cluster\Broadcasting\ClusterBroadcaster;
use Diffyne\Cluster\Console\ClusterCommand;
use Diffyne\Cluster\Console\DoctorCommand;
use Diffyne\Cluster\Console\RestartCommand;
use Diffyne\Cluster\WebSocketHealthChecker;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Support\ServiceProvider;

/** Installs the bridge, and gives the application the package's configuration, services and broadcaster. */
final class ClusterServiceProvider extends ServiceProvider
{
    private const CONFIGURATION = __DIR__.'/../../config/diffyne-cluster.php';

    public function register(): void
    {
        $this->mergeConfigFrom(self::CONFIGURATION, 'diffyne-cluster');
        // The bridge reads it where it has always been.
        $config = $this->app['config'];
        $config->set('diffyne.cluster', array_replace((array) $config->get('diffyne-cluster'), (array) $config->get('diffyne.cluster', [])));
        Bridge::install($this->app);
        $config->get('broadcasting.connections.diffyne') === null && $config->set('broadcasting.connections.diffyne', ['driver' => 'diffyne']);
        $this->callAfterResolving(BroadcastManager::class, function (BroadcastManager $manager): void {
            $manager->extend('diffyne', fn () => new ClusterBroadcaster());
        });
        $this->app->bound('diffyne.websocket.health') || $this->app->singleton('diffyne.websocket.health', WebSocketHealthChecker::class);
    }

    public function boot(): void
    {
        if ($this->app->runningInConsole()) {
            $this->commands([ClusterCommand::class, DoctorCommand::class, RestartCommand::class]);
            $this->publishes([self::CONFIGURATION => $this->app->configPath('diffyne-cluster.php')], 'diffyne-cluster');
        }
    }
}
