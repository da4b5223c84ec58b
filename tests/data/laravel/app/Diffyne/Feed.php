<?php

namespace App\Diffyne;

use Diffyne\Attributes\{Invokable, On};
use Diffyne\Cluster\Shared;
use Diffyne\Component;

/** Pages of one room, which react to the same broadcasts. */
class Feed extends Component
{
    public string $text = '';

    public int $round = 0;

    #[On('message-sent')]
    #[Shared]
    public function refresh(string $tag, string $how = ''): void
    {
        $this->run($tag);
        match ($how) {
            'session' => session('uid'),
            'user' => auth()->guard('web')->id(),
            'gate' => \Illuminate\Support\Facades\Gate::allows('anything'),
            'token' => $this->askForToken(),
            'cookie' => request()->cookie('other'),
            'queued cookie' => \Illuminate\Support\Facades\Cookie::queue('other', '1'),
            'event' => $this->dispatch('message-sent', ['room' => 1]),
            'event to itself' => $this->dispatchSelf('again'),
            'redirect' => $this->redirect('/elsewhere'),
            'failure' => throw new \RuntimeException('no'),
            'validation' => $this->validate(['text' => 'size:3']),
            default => null,
        };
    }

    #[On('message-sent')]
    public function refreshAlone(string $tag): void
    {
        $this->run($tag);
    }

    /** Waits for the test, so that all calls come while one runs. */
    private function run(string $tag): void
    {
        file_put_contents(base_path("runs-$tag"), '1', FILE_APPEND);
        while (! file_exists(base_path("released-$tag"))) {
            usleep(5_000);
        }
        $this->round++;
        $this->text = bin2hex(random_bytes(8));
    }

    /** A guard that needs no session. */
    private function askForToken(): void
    {
        auth()->viaRequest('feed', static fn () => null);
        config(['auth.guards.feed' => ['driver' => 'feed']]);
        auth()->guard('feed')->user();
    }

    public function render(): string
    {
        return "<section id=\"feed-{$this->id}\"><p>{$this->text}</p><a href=\"#{$this->id}\">{$this->round}</a></section>";
    }
}
