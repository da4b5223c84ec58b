<?php

namespace Diffyne;

use Illuminate\Support\Facades\Blade;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

class DiffyneServiceProvider extends ServiceProvider
{
    private function routeUploads(): void
    {
        Route::middleware(config('diffyne.middleware'))->prefix('_diffyne')->group(function (): void {
            Route::post('upload', [Http\Uploads::class, 'store'])->withoutMiddleware('Illuminate\Foundation\Http\Middleware\VerifyCsrfToken');
            Route::get('preview', [Http\Uploads::class, 'show'])->name('diffyne.preview');
        });
    }

    public function register(): void
    {
        $this->booting(fn () => $this->routeUploads());
        $this->app['config']->set('diffyne', array_replace([
            'middleware' => ['web'],
            'transport' => env('DIFFYNE_TRANSPORT', 'ajax'),
            'websocket' => ['key' => env('DIFFYNE_WS_KEY')],
            'performance' => ['minify_patches' => true],
            'security' => ['signing_key' => env('DIFFYNE_SIGNING_KEY')],
        ], $this->app['config']->get('diffyne', [])));
        $this->app->singleton(VirtualDOM\Renderer::class);
        $this->app->singleton(State\ComponentHydrator::class);
        $this->app->singleton('diffyne', fn ($app) => new DiffyneManager($app));
    }

    public function boot(): void
    {
        Blade::directive('diffyneScripts', fn () => "<script>window.diffyneConfig = {transport: '<?= config('diffyne.transport') ?>', "
            ."wsUrl: 'ws://127.0.0.1:1/?key=none', endpoint: '/_diffyne'};</script><script src=\"/vendor/diffyne/diffyne.js\" defer></script>");
        // As the package does: the name that the check had until Laravel 12.
        $routes = ['/update' => ['update', 'diffyne.update'], '/update/lazy' => ['loadLazy', 'diffyne.loadLazy']];
        foreach ($routes as $path => [$action, $name]) {
            Route::middleware(config('diffyne.middleware'))
                ->post(config('diffyne.route_prefix', '_diffyne').$path, [Http\Controller::class, $action])
                ->withoutMiddleware(['Illuminate\Foundation\Http\Middleware\VerifyCsrfToken'])->name($name);
        }
    }
}
