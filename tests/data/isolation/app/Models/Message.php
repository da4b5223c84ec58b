<?php

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

/** Remembers the user of the call in which it booted, as a tenant's scope does. */
class Message extends Model
{
    public static ?string $booted_with = null;

    protected static function booted(): void
    {
        static::creating(fn () => true);
    }

    public static function left(): void
    {
        new self();
        static::$booted_with = 'left';
    }
}
