<?php

namespace App\Support;

/** Static variables, which PHP lets nobody put back. */
enum Counting
{
    case One;

    public function next(): int
    {
        static $count = 0;

        return ++$count;
    }
}
