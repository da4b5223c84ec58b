<?php

namespace Diffyne\Cluster;

use Illuminate\Http\Request;
use RuntimeException;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
use Symfony\Component\HttpKernel\Exception\BadRequestHttpException;

/** What gateways post to DIFFYNE_WEBHOOK_URL. */
final class Webhook
{
    /** The header with the time and the signatures. */
    public const HEADER = 'X-Diffyne-Signature';

    /** How old a request may be, and how far the clocks may differ. */
    private const TOLERANCE_SECONDS = 300;

    /** Signatures of a header that are compared; a gateway has as many as secrets. */
    private const SIGNATURES_MAX = 8;

    /**
     * The events of a request that a gateway has signed.
     *
     * @return list<array<string, mixed>>
     *
     * @throws AccessDeniedHttpException if nobody who knows DIFFYNE_WEBHOOK_SECRET has signed it, or too long ago
     * @throws BadRequestHttpException if it has no events
     */
    public static function verify(Request $request): array
    {
        $body = $request->getContent();
        self::isSigned((string) $request->headers->get(self::HEADER), $body) || throw new AccessDeniedHttpException('The signature is missing, wrong or too old.');
        $events = json_decode($body, true)['events'] ?? null;
        is_array($events) && array_is_list($events) || throw new BadRequestHttpException('There are no events.');

        return $events;
    }

    /** Whether one of our secrets has signed a body within the last minutes. */
    private static function isSigned(string $header, string $body): bool
    {
        [$time, $signatures] = [null, []];
        foreach (explode(',', $header) as $part) {
            [$name, $value] = explode('=', $part, 2) + ['', ''];
            match (trim($name)) {
                't' => $time = trim($value),
                'v1' => $signatures[] = trim($value),
                default => null,
            };
        }
        if ($time === null || preg_match('/^\d{1,12}$/D', $time) !== 1 || abs(time() - (int) $time) > self::TOLERANCE_SECONDS) {
            return false;
        }
        $isSigned = false;
        foreach (self::secrets() as $secret) {
            $expected = hash_hmac('sha256', "{$time}.{$body}", $secret);
            foreach (array_slice($signatures, 0, self::SIGNATURES_MAX) as $signature) {
                $isSigned = hash_equals($expected, $signature) || $isSigned;
            }
        }

        return $isSigned;
    }

    /** @return non-empty-list<string> more than one during a rotation */
    private static function secrets(): array
    {
        $secrets = array_map('trim', explode(',', (string) config('diffyne.cluster.webhook_secret')));
        $secrets = array_values(array_filter($secrets, static fn (string $secret): bool => $secret !== ''));

        return $secrets ?: throw new RuntimeException('DIFFYNE_WEBHOOK_SECRET is not set.');
    }
}
