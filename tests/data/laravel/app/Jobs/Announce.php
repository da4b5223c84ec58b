<?php

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Support\Facades\Redis;

/** Publishes as a queue worker does: no component is near. */
class Announce implements ShouldQueue
{
    public function handle(): void
    {
        for ($n = 1; $n <= 10; $n++) {
            $event = ['name' => 'order-paid', 'params' => [['n' => $n, 'sum' => 1.5, 'tags' => (object) []]]];
            Redis::rpush('{diffyne}:ingress', json_encode($event));
            Redis::rpush('{diffyne}:ingress', 'no event');
        }
    }
}
