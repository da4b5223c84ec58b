<?php

namespace Diffyne\Attributes;

use Attribute;

#[Attribute(Attribute::TARGET_PROPERTY)]
final class QueryString
{
    public function __construct(public ?string $as = null, public bool $keep = false)
    {
    }
}
