<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Cluster\Streaming;
use Diffyne\Component;
use Illuminate\Support\Facades\Cookie;

/** Shows its answer while it makes it. */
class Speaker extends Component
{
    use Streaming;

    public string $answer = '';

    public int $process = 0;

    public function render(): string
    {
        return "<article><p diff:stream=\"answer\">{$this->answer}</p></article>";
    }

    /** Says a word, waits until the test lets it go on, and says another one. */
    #[Invokable]
    public function speak(string $tag): void
    {
        $this->process = getmypid();
        $this->say('one ');
        echo 'printed in between';
        while (! file_exists(base_path("released-$tag"))) {
            usleep(2000);
            clearstatcache();
        }
        Cookie::queue('spoken', $tag, 5);
        $this->say('two');
    }

    /** Speaks until nobody listens, and notes how it heard of that. */
    #[Invokable]
    public function speakOn(string $tag): void
    {
        $this->process = getmypid();
        $went = true;
        while (! connection_aborted()) {
            $went = $this->stream(to: 'answer', content: 'again ');
            usleep(2000);
        }
        file_put_contents(base_path("aborted-$tag"), json_encode(['went' => $went, 'status' => connection_status()]));
        try {
            $this->stream('answer', 'to nobody');
        } finally {
            file_put_contents(base_path("ended-$tag"), (string) getmypid());
        }
        file_put_contents(base_path("went-on-$tag"), '');
    }

    /** As a language model does: so many words a second. */
    #[Invokable]
    public function recite(int $words, int $pauseMicroseconds): void
    {
        for ($word = 0; $word < $words; $word++) {
            $this->say("word$word ");
            usleep($pauseMicroseconds);
        }
    }

    #[Invokable]
    public function mumble(): void
    {
        $this->stream('answer', str_repeat('x', 65537));
    }

    private function say(string $word): void
    {
        $this->answer .= $word;
        $this->stream(to: 'answer', content: $word);
    }
}
