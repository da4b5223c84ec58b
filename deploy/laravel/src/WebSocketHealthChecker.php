<?php

namespace Diffyne\Cluster;

/** The documented health check, also app('diffyne.websocket.health'). */
final class WebSocketHealthChecker
{
    public function isHealthy(): bool
    {
        return $this->status()['status'] === 'connected';
    }

    /**
     * The status in the cache, and a gateway's own where DIFFYNE_HEALTH_URL names one.
     *
     * @return array{status: string, gateway: ?array}
     */
    public function status(): array
    {
        $gateway = Gateway::health();
        $cached = cache()->get(Bridge::STATUS_KEY);
        $status = $cached ?? (($gateway['workers'] ?? 0) > 0 ? 'connected' : 'disconnected');

        return ['status' => (string) $status, 'gateway' => $gateway];
    }
}
