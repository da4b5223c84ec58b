<?php

namespace Diffyne\Cluster;

use RuntimeException;

/** A call that cannot be run, with a text for the client. */
final class CallRejection extends RuntimeException
{
    public function __construct(public readonly string $outcome, string $message, public readonly string $name = '')
    {
        parent::__construct($message);
    }
}
