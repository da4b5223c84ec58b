<?php

namespace App\Support;

class SelfSetting
{
    public static array $names = [];

    public static ?Keeper $keeper = null;
}

// What many packages do at the end of a file.
SelfSetting::$names[] = 'set when loaded';
SelfSetting::$keeper = new Keeper();
// A class that is there already, and one that is loaded for it.
Keeper::$registered[] = SelfSetting::class;
SelfSettingPart::$whole = SelfSetting::class;
