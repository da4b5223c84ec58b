<?php

namespace Diffyne\Cluster;

use RuntimeException;

/** Asks a gateway's admin port: the one of DIFFYNE_PUBLISH_URL. */
final class AdminApi
{
    private const TIMEOUT_SECONDS = 5;

    /**
     * What GET /api/$path answers.
     *
     * @throws RuntimeException if it does not answer
     */
    public static function get(string $path, array $query): array
    {
        $url = (string) config('diffyne.cluster.publish_url');
        if (! str_ends_with($url, '/api/broadcast')) {
            throw new RuntimeException('DIFFYNE_PUBLISH_URL has to name POST /api/broadcast of a gateway.');
        }
        $http = ['header' => 'Authorization: Bearer '.config('diffyne.cluster.admin_token'), 'timeout' => self::TIMEOUT_SECONDS];
        $address = substr($url, 0, -strlen('broadcast')).$path.'?'.http_build_query($query);
        $answer = json_decode((string) @file_get_contents($address, false, stream_context_create(['http' => $http])), true);
        if (! is_array($answer)) {
            throw new RuntimeException('The gateway at DIFFYNE_PUBLISH_URL does not answer.');
        }

        return $answer;
    }
}
