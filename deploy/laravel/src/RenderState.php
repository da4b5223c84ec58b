<?php

namespace Diffyne\Cluster;

use Closure;
use Illuminate\View\Factory;

/** What a view factory holds while it renders. All renderings of a call begin with the same. */
final class RenderState
{
    private static ?Closure $read = null;

    private static ?Closure $write = null;

    /** @var ?list<mixed> what an application may also set before it renders: a provider that pushes onto a stack, for example */
    private ?array $content = null;

    public function __construct(private object $views)
    {
        if (! $views instanceof Factory) {
            return;
        }
        self::$read ??= Closure::bind(
            static fn (Factory $views): array => [$views->sections, $views->pushes, $views->prepends, $views->renderedOnce, $views->fragments],
            null,
            Factory::class,
        );
        self::$write ??= Closure::bind(static function (Factory $views, array $content): void {
            [$views->sections, $views->pushes, $views->prepends, $views->renderedOnce, $views->fragments] = $content;
            // What only a rendering sets, and an interrupted one leaves behind.
            $views->renderCount = 0;
            $views->sectionStack = $views->pushStack = $views->componentStack = $views->componentData = $views->currentComponentData = [];
            $views->slots = $views->slotStack = $views->fragmentStack = $views->loopsStack = $views->translationReplacements = [];
        }, null, Factory::class);
        $this->content = (self::$read)($views);
    }

    /** Brings the factory into the state that it had at the start of the call. */
    public function restore(): void
    {
        $this->content === null || (self::$write)($this->views, $this->content);
    }
}
