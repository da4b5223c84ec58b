<?php

namespace Diffyne\Attributes;

use Attribute;

#[Attribute(Attribute::TARGET_PROPERTY)]
final class Computed
{

}
