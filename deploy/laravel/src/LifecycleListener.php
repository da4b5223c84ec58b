<?php

namespace Diffyne\Cluster;

/** A class that workers call when clients connect, disconnect and subscribe: DIFFYNE_LIFECYCLE_LISTENER of the gateways. */
interface LifecycleListener
{
    /**
     * Gets events in the order in which a gateway has seen them; docs/webhooks.md has their fields. An exception makes the
     * gateway send the same ones again, as after a time-out: an id that was there before is to be left out. What throws for
     * longer is set aside, with what follows of the same connection or room, and comes after others.
     *
     * @param list<array{id: string, name: string, at: int, gateway: string}> $events
     */
    public function handle(array $events): void;
}
