<?php

namespace App\Diffyne;

use Diffyne\Attributes\Lazy;

/** The same, with a name of its own: no other class has such a state. */
#[Lazy]
class Chest extends Vault
{
    public int $chest = 1;

    /** Taken for computed by name, and part of the state. */
    public int $sum = 9;

    protected array $computed = ['sum'];
}
