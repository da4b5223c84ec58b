<?php
use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('orders.{id}', fn (object $user, int $id) => (int) $user->id === $id);
Broadcast::channel('warehouse', fn (object $user) => (int) $user->id === 1 ? ['id' => $user->id, 'name' => $user->name] : null);
Broadcast::channel('broken', fn () => throw new RuntimeException('the callback failed on purpose'));
Broadcast::channel('room.{id}', fn (object $user, int $id) => $id === 1 ? ['id' => $user->id, 'name' => "user {$user->id}"] : null);
