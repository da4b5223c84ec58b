<?php

namespace App\Diffyne;

use App\Support\Proofs;
use Diffyne\Attributes\Invokable;
use Diffyne\Component;

/** Changes and reads what isolation.php names. */
class Isolation extends Component
{
    public string $text = '';

    #[Invokable]
    public function prove(string $kind, string $part): void
    {
        $this->text = json_encode(Proofs::run($kind, $part), JSON_THROW_ON_ERROR | JSON_PARTIAL_OUTPUT_ON_ERROR);
    }

    public function render(): string
    {
        return '<p>'.e($this->text).'</p>';
    }
}
