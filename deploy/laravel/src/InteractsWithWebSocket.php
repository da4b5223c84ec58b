<?php

namespace Diffyne\Cluster;

/** The documented trait that tells components whether a call came over the WebSocket. */
trait InteractsWithWebSocket
{
    public function isWebSocketConnected(): bool
    {
        return Bridge::$transport === 'ws';
    }
}
