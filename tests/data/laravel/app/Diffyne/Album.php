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

    #[Invokable]
    public function keep(): void
    {
        $this->kept = (string) $this->moveTemporaryFile($this->photo, 'album/photo.png');
        $this->photo = '';
    }

    public function render(): View|string
    {
        $preview = $this->photo === '' ? null : route('diffyne.preview', ['id' => $this->photo], false);

        return view('diffyne.album', ['preview' => $preview, 'photo' => $this->photo, 'more' => $this->more, 'kept' => $this->kept]);
    }
}
