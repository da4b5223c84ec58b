<?php

namespace App\Diffyne;

use Diffyne\Attributes\Lazy;

/** Another class, whose state has the same names. */
#[Lazy]
class Safe extends Vault
{
}
