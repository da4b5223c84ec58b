<?php

namespace Diffyne\Exceptions;

use Exception;

class RedirectException extends Exception
{
    public function __construct(private array $redirect)
    {
        parent::__construct('redirect');
    }

    public function getRedirectData(): array
    {
        return ['redirect' => $this->redirect];
    }
}
