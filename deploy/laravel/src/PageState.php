<?php

namespace Diffyne\Cluster;

use Closure;
use Diffyne\Component;
use Diffyne\Security\StateSigner;
use InvalidArgumentException;
use JsonException;

/** A state as a page returns it, and what no page can return. */
final class PageState
{
    /** The largest integer up to which JavaScript has all of them. */
    private const INTEGER_MAX = 9007199254740991;

    /** How deep a state may nest: PHP's 512 without the two objects that are around it in a response. */
    private const DEPTH_MAX = 510;

    private const NO_JSON = 'cannot be sent to a page: ';

    private const CHANGED = 'JavaScript changes integers beyond 2^53, and the script of this page does not keep them: load companion.js or client.js, or use a string.';

    /**
     * The signature of a state, which covers what comes back: JavaScript prints some numbers in another way than PHP.
     *
     * @param bool $isExact whether the page's script returns integers as it got them
     *
     * @throws CallRejection if the page cannot return the state
     */
    public static function signature(Component $component, array $state, string $signature, bool $isExact): string
    {
        try {
            $returned = self::returned($state, $isExact);
        } catch (InvalidArgumentException $error) {
            foreach ($state as $name => $value) {
                try {
                    self::returned([$value], $isExact);
                } catch (InvalidArgumentException $error) {
                    throw self::rejection($component, $name, $error->getMessage());
                }
            }
            throw $error;
        }

        return $returned === null ? $signature : StateSigner::sign(self::withoutEmptyTexts($returned), $component->id);
    }

    /**
     * The values as they come back, or null if they come back as they are.
     *
     * @throws InvalidArgumentException if they cannot
     */
    public static function returned(array $values, bool $isExact = true, int $depth = 1): ?array
    {
        if ($depth > self::DEPTH_MAX) {
            throw new InvalidArgumentException('nests too deep: a state may have '.self::DEPTH_MAX.' levels.');
        }
        $changed = null;
        $hasIndex = $hasName = false;
        foreach ($values as $key => $value) {
            is_int($key) ? $hasIndex = true : $hasName = true;
            if (is_array($value)) {
                $new = self::returned($value, $isExact, $depth + 1);
            } elseif (is_float($value)) {
                $new = self::float($value);
            } elseif (is_object($value)) {
                $decoded = self::decoded($value);
                $new = self::returned([$decoded], $isExact, $depth)[0] ?? $decoded;
            } elseif (is_int($value) && ! $isExact && self::isChanged($value)) {
                throw new InvalidArgumentException("holds the integer {$value}. ".self::CHANGED);
            } else {
                continue;
            }
            if ($new !== null) {
                $changed ??= $values;
                $changed[$key] = $new;
            }
        }

        return $hasIndex && $hasName ? self::ordered($changed ?? $values) : $changed;
    }

    /**
     * Keys that JavaScript takes for indexes come first, the smallest first. PHP's sort depends on the order before it
     * where keys are equal to each other, as 10 and "1e1" are.
     */
    private static function ordered(array $values): array
    {
        $isIndex = static fn (int|string $key): bool => is_int($key) && $key >= 0 && $key < 2 ** 32 - 1;
        $indexes = array_filter($values, $isIndex, ARRAY_FILTER_USE_KEY);
        ksort($indexes);

        return $indexes + $values;
    }

    private static function decoded(object $value): mixed
    {
        try {
            return json_decode(json_encode($value, JSON_THROW_ON_ERROR), true, 512, JSON_THROW_ON_ERROR);
        } catch (JsonException $error) {
            throw new InvalidArgumentException(self::NO_JSON.$error->getMessage().'.', 0, $error);
        }
    }

    /** Whether JavaScript prints another integer than it has read. */
    private static function isChanged(int $value): bool
    {
        $isLarge = $value > self::INTEGER_MAX || $value < -self::INTEGER_MAX;

        return $isLarge && self::printed((float) $value) !== (string) $value;
    }

    /**
     * A float as it comes back, or null if it comes back as it is: JavaScript has no -0 in JSON, and prints floats below
     * 1e21 without an exponent.
     */
    private static function float(float $value): ?int
    {
        if (! is_finite($value)) {
            throw new InvalidArgumentException('is no finite number, which JSON does not have.');
        }
        if ($value === 0.0) {
            return fdiv(1, $value) < 0 ? 0 : null;
        }
        if (abs($value) < 1e17 || abs($value) >= 2 ** 63) {
            return null;
        }

        return (int) self::printed($value);
    }

    /** A float without a fraction, below 1e21, as JavaScript prints it. */
    private static function printed(float $value): string
    {
        [$mantissa, $exponent] = explode('e+', (string) json_encode($value)) + [1 => '0'];
        [$whole, $fraction] = explode('.', $mantissa) + [1 => ''];

        return $whole.str_pad(rtrim($fraction, '0'), (int) $exponent, '0');
    }

    /** Laravel turns empty texts of requests into null. The package leaves those of a paginator as they are. */
    private static function withoutEmptyTexts(array $values): array
    {
        foreach ($values as $key => $value) {
            if ($value === '') {
                $values[$key] = null;
            } elseif (is_array($value) && ($value['__paginator'] ?? null) !== true) {
                $values[$key] = self::withoutEmptyTexts($value);
            }
        }

        return $values;
    }

    /**
     * Encodes a response, and names the property for which JSON has no form, a text that is no UTF-8 for example.
     *
     * @throws CallRejection if there is one
     */
    public static function encodable(Component $component, array $state, Closure $encode): mixed
    {
        try {
            return $encode();
        } catch (JsonException $error) {
            foreach ($state as $name => $value) {
                if (json_encode($value) === false) {
                    throw self::rejection($component, $name, self::NO_JSON.json_last_error_msg().'.');
                }
            }
            throw $error;
        }
    }

    private static function rejection(Component $component, string $name, string $text): CallRejection
    {
        return new CallRejection('unreturnable', "Property [{$name}] of ".$component::class." {$text}");
    }
}
