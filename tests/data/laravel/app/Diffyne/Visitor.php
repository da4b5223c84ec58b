<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;
use Illuminate\Support\Facades\Auth;

/** Shows who has clicked last, and how often somebody has. */
class Visitor extends Component
{
    public string $who = 'nobody';

    public int $clicks = 0;

    #[Invokable]
    public function click(): void
    {
        $this->who = Auth::check() ? 'user '.Auth::id() : 'guest';
        $this->clicks++;
    }

    public function render(): string
    {
        return '<p><output>'.e("{$this->who} {$this->clicks}").'</output><button diff:click="click">click</button></p>';
    }
}
