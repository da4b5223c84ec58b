<?php

namespace Diffyne\Cluster;

use LogicException;

/**
 * For components that send events to one user, wherever that user has pages open.
 *
 *     $this->dispatch('order-shipped', $order->id)->toUser($order->user_id);
 */
trait SendsToUsers
{
    /**
     * Sends the event that was dispatched last to this user alone. It is not in the call's answer: the user's own page
     * gets it like all others.
     */
    protected function toUser(string|int $id): static
    {
        $events = $this->getDispatchedEvents();
        $event = array_pop($events);
        if ($event === null || $event['to'] !== null) {
            throw new LogicException('toUser() comes behind dispatch().');
        }
        $this->clearDispatchedEvents();
        foreach ($events as $other) {
            match (true) {
                $other['self'] => $this->dispatchSelf($other['name'], ...$other['params']),
                $other['to'] === null => $this->dispatch($other['name'], ...$other['params']),
                default => $this->dispatchTo($other['to'], $other['name'], ...$other['params']),
            };
        }
        Users::send($id, $event['name'], ...$event['params']);

        return $this;
    }
}
