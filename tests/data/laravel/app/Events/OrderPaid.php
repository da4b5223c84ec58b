<?php

namespace App\Events;

use Illuminate\Broadcasting\{Channel, InteractsWithSockets, PrivateChannel};
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

/** For everybody who looks at the orders, and for the user whose order it is. */
class OrderPaid implements ShouldBroadcastNow
{
    use InteractsWithSockets;

    public function __construct(public int $order, public int $user)
    {
    }

    public function broadcastOn(): array
    {
        return [new Channel('orders'), new PrivateChannel("orders.{$this->user}")];
    }
}
