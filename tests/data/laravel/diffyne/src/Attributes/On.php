<?php

namespace Diffyne\Attributes;

use Attribute;

#[Attribute(Attribute::TARGET_METHOD | Attribute::IS_REPEATABLE)]
final class On
{
    public function __construct(public string $event)
    {
    }
}
