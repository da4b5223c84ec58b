<?php

namespace App\Lifecycle;

use Diffyne\Cluster\LifecycleListener;

/** Notes what happens to connections; fails once, when it has noted the first events, and as long as the test wants it. */
class Presence implements LifecycleListener
{
    public function handle(array $events): void
    {
        if (file_exists(storage_path('app/failing'))) {
            throw new \RuntimeException('the listener fails again and again');
        }
        foreach ($events as $event) {
            file_put_contents(storage_path('app/heard.txt'), json_encode($event + ['request' => request()->ip(), 'auth' => auth()->id()])."\n", FILE_APPEND);
        }
        if (! file_exists(storage_path('app/failed'))) {
            touch(storage_path('app/failed'));
            throw new \RuntimeException('the listener failed on purpose');
        }
    }
}
