<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\On;
use Diffyne\Component;

/** What works with the package alone. */
class Plain extends Component
{
    public string $text = '';


    public function render(): string
    {
        return '<p>'.e($this->text).'</p>';
    }

    /** Who and where the application thinks that the user is. */
    #[Invokable]
    public function identity(): void
    {
        $names = array_filter(request()->headers->keys(), fn ($name) => preg_match('/^(x-)?forwarded|^x-real-ip/', $name) === 1);
        sort($names);
        $this->text = json_encode(['ip' => request()->ip(), 'ips' => request()->ips(), 'host' => request()->getHost(), 'port' => request()->getPort(),
            'secure' => request()->isSecure(), 'url' => url('/reset'), 'forwarded' => $names]);
    }

    #[Invokable]
    public function say(string $text): void
    {
        $this->text = $text;
    }

    #[Invokable]
    public function end(string $how): void
    {
        match ($how) {
            'exit' => exit(0),
            'die' => die('dead'),
            'fatal' => $this->{'no such method at all'}(),
            'memory' => str_repeat('x', 2_000_000_000),
            'kill' => posix_kill(getmypid(), 9),
            'loop' => (function (): never {
                while (true) {
                }
            })(),
            'notice' => $this->seen['undefined']['deeper'],
            'throw' => throw new \LogicException('thrown on purpose'),
            'deep' => strlen([]),
            'abort' => abort(403, 'not for you'),
        };
    }

    #[Invokable]
    public function tell(string $what): void
    {
        $this->dispatch('message-sent', ['what' => $what]);
    }

    #[On('message-sent')]
    public function hear(array $data): void
    {
        $this->text = $data['what'];
    }
}
