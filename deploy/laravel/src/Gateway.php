<?php

namespace Diffyne\Cluster;

use RuntimeException;

/** Speaks HTTP to a gateway: its admin API at DIFFYNE_PUBLISH_URL, and its health at DIFFYNE_HEALTH_URL. */
final class Gateway
{
    /** Longer than a gateway waits for room (`DIFFYNE_PUBLISH_WAIT`, 2 s): what it takes in the end was published. */
    private const TIMEOUT_SECONDS = 5;

    private const HEALTH_TIMEOUT_SECONDS = 2;

    /** How much of an answer is read: more than a list of 1000 connections of each of 30 gateways. */
    private const ANSWER_BYTES = 16 << 20;

    /** How much of an answer an error quotes. */
    private const QUOTED_BYTES = 1000;

    /** The path that DIFFYNE_PUBLISH_URL names. */
    private const BROADCAST = '/api/broadcast';

    /** Whether the application knows a gateway's admin API. */
    public static function isKnown(): bool
    {
        return self::publishUrl() !== '';
    }

    /** The token of the admin API; empty where there is none. */
    public static function token(): string
    {
        return (string) config('diffyne.cluster.admin_token');
    }

    /**
     * Asks the admin API: `ask('GET', '/api/connections?user=7')`.
     *
     * @return array<mixed> what the gateway has answered
     *
     * @throws RuntimeException if it does not answer, or not with 2xx and JSON
     */
    public static function ask(string $method, string $path, string $body = ''): array
    {
        $url = self::url($path);
        // The token goes to nobody whom a redirect names.
        [$status, $answer] = self::request($url, self::TIMEOUT_SECONDS, [
            'method' => $method,
            'header' => ['Content-Type: application/json', 'Authorization: Bearer '.self::token()],
            'content' => $body,
            'follow_location' => 0,
        ]);
        if ($status === null) {
            throw new RuntimeException("{$url} cannot be reached");
        }
        $decoded = preg_match('#^HTTP/\S+ 2#', $status) === 1 ? json_decode($answer, true) : null;
        if (! is_array($decoded)) {
            throw new RuntimeException("{$url} answered {$status}: ".mb_strcut($answer, 0, self::QUOTED_BYTES));
        }

        return $decoded;
    }

    /** What /health of a gateway says; null if DIFFYNE_HEALTH_URL names none, or it does not answer. */
    public static function health(): ?array
    {
        $url = (string) config('diffyne.cluster.health_url');
        $answer = $url === '' ? null : json_decode(self::request($url, self::HEALTH_TIMEOUT_SECONDS, [])[1], true);

        return is_array($answer) ? $answer : null;
    }

    private static function publishUrl(): string
    {
        return (string) config('diffyne.cluster.publish_url');
    }

    /** The address of a path of the API. Events may go to another server's address, which leads there. */
    private static function url(string $path): string
    {
        $url = self::publishUrl();
        if ($path === self::BROADCAST) {
            return $url;
        }
        if (! str_ends_with($url, self::BROADCAST)) {
            throw new RuntimeException('DIFFYNE_PUBLISH_URL has to name POST /api/broadcast of a gateway.');
        }

        return substr($url, 0, -strlen(self::BROADCAST)).$path;
    }

    /** @return array{?string, string} the line with the status, null without an answer, and the answer */
    private static function request(string $url, int $timeout, array $options): array
    {
        $context = stream_context_create(['http' => $options + ['timeout' => $timeout, 'ignore_errors' => true]]);
        $stream = @fopen($url, 'r', false, $context);
        if ($stream === false) {
            return [null, ''];
        }
        $status = (string) (stream_get_meta_data($stream)['wrapper_data'][0] ?? '');
        $answer = (string) stream_get_contents($stream, self::ANSWER_BYTES);
        fclose($stream);

        return [$status, $answer];
    }
}
