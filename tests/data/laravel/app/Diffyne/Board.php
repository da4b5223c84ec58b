<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;

/** Its view is no function of its state: it shows the lines of a file. Another file tells how often it was rendered. */
class Board extends Component
{
    public int $seen = 0;

    public string $draft = '';

    #[Invokable]
    public function look(): void
    {
    }

    #[Invokable]
    public function count(): void
    {
        $this->seen++;
    }

    #[Invokable]
    public function keep(): void
    {
    }

    #[Invokable]
    public function clear(): void
    {
        $this->draft = '';
    }

    public function render(): string
    {
        file_put_contents(base_path('renderings'), 'r', FILE_APPEND);
        $lines = array_map(static fn (string $line) => '<li>'.e($line).'</li>', file(base_path('lines'), FILE_IGNORE_NEW_LINES));

        return "<div>\n  <p>{$this->seen}</p>\n  <ul>".implode("\n", $lines)."</ul>\n  <input diff:model=\"draft\" value=\"".e($this->draft)."\">\n</div>";
    }
}
