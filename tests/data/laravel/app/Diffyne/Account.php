<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;

/** Its locked properties have the values that an empty form would have. */
class Account extends Component
{
    public string $name = '';

    public bool $isAdmin = false;

    public int $balance = 0;

    protected array $locked = ['isAdmin', 'balance'];

    #[Invokable]
    public function save(): void
    {
    }

    public function render(): string
    {
        return '<p>'.e($this->name).' '.($this->isAdmin ? 'admin' : 'user').' '.$this->balance.'</p>';
    }
}
