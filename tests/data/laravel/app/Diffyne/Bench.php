<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;

/** What is measured: a call that leaves the session alone, one that reads it, and one that writes it. */
class Bench extends Component
{
    public int $count = 0;

    public function render(): string
    {
        $rows = implode('', array_map(fn ($n) => "<li class=\"row\">Row $n</li>", range(1, 10)));

        return "<div class=\"card\"><h2>Counter</h2><p>Count: {$this->count}</p><ul>$rows</ul><button diff:click=\"touch\">+</button></div>";
    }

    #[Invokable]
    public function touch(): void
    {
        $this->count++;
    }

    #[Invokable]
    public function read(): void
    {
        $this->count += session('uid') === null ? 1 : 2;
    }

    #[Invokable]
    public function write(): void
    {
        session(['at' => microtime(true)]);
        $this->count++;
    }
}
