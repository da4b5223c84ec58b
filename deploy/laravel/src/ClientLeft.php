<?php

namespace Diffyne\Cluster;

use RuntimeException;

/** Ends a method whose browser has left. */
final class ClientLeft extends RuntimeException
{
    public function __construct()
    {
        parent::__construct('the browser has left');
    }
}
