<?php

namespace App\Notifications;

use Illuminate\Notifications\Notification;

class InvoiceSent extends Notification
{
    public function via(): array
    {
        return ['broadcast'];
    }

    public function toArray(): array
    {
        return ['invoice' => 12];
    }
}
