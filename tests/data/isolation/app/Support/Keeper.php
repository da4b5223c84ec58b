<?php

namespace App\Support;

class Keeper
{
    public static array $list = [];

    private static ?string $secret = null;

    public ?string $value = null;

    public static function set(string $value): void
    {
        self::$secret = $value;
    }

    public static function get(): ?string
    {
        return self::$secret;
    }
}
