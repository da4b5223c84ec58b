<?php

namespace App\Models;

use Illuminate\Notifications\Notifiable;

class Customer
{
    use Notifiable;

    public function __construct(private int $id)
    {
    }

    public function receivesBroadcastNotificationsOn(): string
    {
        return "orders.{$this->id}";
    }
}
