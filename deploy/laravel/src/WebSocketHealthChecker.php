<?php

namespace Diffyne\Cluster;

/** The documented health check, also app('diffyne.websocket.health'). */
final class WebSocketHealthChecker
{
    private const TIMEOUT_SECONDS = 2;

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
        $url = config('diffyne.cluster.health_url');
        $gateway = null;
        if (is_string($url) && $url !== '') {
            $context = stream_context_create(['http' => ['timeout' => self::TIMEOUT_SECONDS, 'ignore_errors' => true]]);
            $gateway = json_decode((string) @file_get_contents($url, false, $context), true);
        }
        $cached = cache()->get(Bridge::STATUS_KEY);
        $status = $cached ?? (is_array($gateway) && ($gateway['workers'] ?? 0) > 0 ? 'connected' : 'disconnected');

        return ['status' => (string) $status, 'gateway' => is_array($gateway) ? $gateway : null];
    }
}
