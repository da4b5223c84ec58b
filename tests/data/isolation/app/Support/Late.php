<?php

namespace App\Support;

class Late
{
    public static int $left = 0;
}
