<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;
use Illuminate\View\View;

/** A picture and any number of files beside it. */
class Album extends Component
{
    public string $photo = '';
    public array $more = [];
    public string $kept = '';
    public string $once = '';
    public int $taken = 0;

    /** Takes a file as soon as it comes. */
    public function updated(string $property): void
    {
        if ($property === 'once') {
            $this->taken++;
            $this->once = '';
        }
    }

    #[Invokable]
    public function keep(): void
    {
        $this->kept = (string) $this->moveTemporaryFile($this->photo, 'album/photo.png');
        $this->photo = '';
    }

    public function render(): View|string
    {
        $preview = $this->photo === '' ? null : route('diffyne.preview', ['id' => $this->photo], false);

        return view('diffyne.album', ['preview' => $preview, 'photo' => $this->photo, 'more' => $this->more, 'kept' => $this->kept, 'taken' => $this->taken]);
    }
}
