<?php

namespace Diffyne\Attributes;

use Attribute;

#[Attribute(Attribute::TARGET_METHOD)]
final class Invokable
{

}
