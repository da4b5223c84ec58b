<?php

namespace App\Events;

use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcast;

/** For those who work in the warehouse, under a name and with data of its own. */
class OrderShipped implements ShouldBroadcast
{
    public function __construct(private int $order)
    {
    }

    public function broadcastOn(): PresenceChannel
    {
        return new PresenceChannel('warehouse');
    }

    public function broadcastAs(): string
    {
        return 'order.shipped';
    }

    public function broadcastWith(): array
    {
        return ['number' => $this->order];
    }
}
