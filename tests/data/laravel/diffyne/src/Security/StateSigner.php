<?php

namespace Diffyne\Security;

/** hex(HMAC-SHA256(key, sorted JSON without empty strings + component id)). */
final class StateSigner
{
    public static function sign(array $state, string $componentId): string
    {
        $key = config('diffyne.security.signing_key') ?: config('app.key');
        $key = str_starts_with($key, 'base64:') ? base64_decode(substr($key, 7)) : $key;
        $json = json_encode(self::sorted($state), JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);

        return hash_hmac('sha256', $json.$componentId, $key);
    }

    private static function sorted(array $values): array
    {
        ksort($values);

        return array_map(fn ($value) => match (true) {
            is_array($value) && ($value['__paginator'] ?? null) === true => self::sortedPaginator($value),
            is_array($value) => self::sorted($value),
            $value === '' => null,
            default => $value,
        }, $values);
    }

    /** Its items keep their order, and nothing in them is changed. */
    private static function sortedPaginator(array $paginator): array
    {
        ksort($paginator);
        array_is_list($paginator['items'] ?? []) || ksort($paginator['items']);

        return $paginator;
    }
}
