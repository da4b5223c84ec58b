<?php

namespace App\Support;

/** Cannot be made lazy again. */
final class ModernChild extends Modern
{
}
