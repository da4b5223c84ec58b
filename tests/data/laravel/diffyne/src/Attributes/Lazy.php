<?php

namespace Diffyne\Attributes;

use Attribute;

#[Attribute(Attribute::TARGET_CLASS)]
final class Lazy
{
    public function __construct(public ?string $placeholder = null)
    {
    }
}
