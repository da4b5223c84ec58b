<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;
use Illuminate\Support\Facades\View;
use Illuminate\View\View as ViewInstance;
use Throwable;

/** Renders one of `resources/views/layers`, each of which uses a part of Blade that has a state while it renders. */
class Layers extends Component
{
    public string $page = '';

    public string $text = '';

    public function render(): ViewInstance
    {
        return view('layers.'.$this->page);
    }

    #[Invokable]
    public function write(string $text): void
    {
        $this->text = $text;
    }

    #[Invokable]
    public function turn(string $page): void
    {
        $this->page = $page;
    }

    /** A rendering that fails, and that the component survives. */
    #[Invokable]
    public function survive(string $text): void
    {
        try {
            view('layers.throws', ['text' => $text])->render();
        } catch (Throwable) {
            $this->text = $text;
        }
    }

    /** What interrupted renderings can leave behind. */
    #[Invokable]
    public function interrupt(string $text): void
    {
        $levels = ob_get_level();
        View::addLoop([1, 2, 3]);
        View::incrementRender();
        View::markAsRenderedOnce('layers');
        View::startSection('body');
        View::startPush('list');
        View::startComponent('components.card');
        View::slot('title');
        View::startFragment('part');
        View::startTranslation(['name' => 'nobody']);
        View::inject('title', 'left');
        View::startPush('list', 'left');
        View::startPrepend('list', 'left');
        while (ob_get_level() > $levels) {
            ob_end_clean();
        }
        $this->text = $text;
    }

    #[Invokable]
    public function share(string $text): void
    {
        View::share('motto', $text);
        $this->text = $text;
    }
}
