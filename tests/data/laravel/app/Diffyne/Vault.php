<?php

namespace App\Diffyne;

use Diffyne\Attributes\Computed;
use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\Lazy;
use Diffyne\Attributes\Locked;
use Diffyne\Component;

/** Has a property of each kind, and tells what it has come with. */
#[Lazy]
class Vault extends Component
{
    public int $plain = 5;

    public string $note = 'n';

    #[Locked]
    public int $owner = 7;

    public int $margin = 30;

    #[Computed]
    public int $total = 40;

    public string $seen = '';

    protected array $hidden = ['margin'];

    public function mount(): void
    {
        $this->look();
    }

    public function updated(string $property): void
    {
        $this->look();
    }

    #[Invokable]
    public function look(): void
    {
        $this->seen = "{$this->plain} {$this->owner} {$this->margin} {$this->total}";
    }

    public function render(): string
    {
        return '<p>'.e($this->seen).'</p>';
    }
}
