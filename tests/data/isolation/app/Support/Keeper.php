<?php

namespace App\Support;

#[\AllowDynamicProperties]
class Keeper
{
    public static array $list = [];

    public static array $registered = [];

    public static ?string $maybe;

    public static self $only;

    private static ?string $secret = null;

    public ?string $value = null;

    /** @var array<string, string> shared by reference */
    public array $kept = [];

    public static function set(string $value): void
    {
        self::$secret = $value;
    }

    public static function get(): ?string
    {
        return self::$secret;
    }
}
