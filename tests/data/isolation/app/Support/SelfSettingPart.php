<?php

namespace App\Support;

class SelfSettingPart
{
    public static ?string $whole = null;
}
