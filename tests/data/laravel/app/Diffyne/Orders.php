<?php

namespace App\Diffyne;

use App\Events\OrderPaid;
use Diffyne\Attributes\{Invokable, On};
use Diffyne\Component;

/** Hears what Laravel broadcasts, and broadcasts itself. */
class Orders extends Component
{
    public string $text = 'nothing';

    #[On('channel:orders:OrderPaid')]
    public function paid(array $event): void
    {
        $this->text = "paid {$event['order']}";
    }

    #[Invokable]
    public function pay(int $order): void
    {
        broadcast(new OrderPaid($order, 3))->toOthers();
        $this->text = "paying $order";
    }

    #[On('order-seen')]
    public function seen(): void
    {
    }

    /** Who may enter the room of an order, and what the others there see of them. */
    public function here(string $event, array $match): ?array
    {
        return auth()->check() && $match === ['order' => 7] ? ['name' => 'user '.auth()->id()] : null;
    }

    public function render(): string
    {
        return '<p><output>'.e($this->text).'</output><button diff:click="pay(30)">pay</button></p>';
    }
}
