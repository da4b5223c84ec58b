<?php

namespace Diffyne\Cluster;

use Closure;
use Illuminate\View\Factory;

/** What a view factory holds while it renders. All renderings of a call begin with the same. */
final class RenderState
{
    /** What only a rendering sets, and an interrupted one leaves behind. */
    private const OPEN = [
        'renderCount' => 0, 'sectionStack' => [], 'pushStack' => [], 'componentStack' => [], 'componentData' => [],
        'currentComponentData' => [], 'slots' => [], 'slotStack' => [], 'fragmentStack' => [], 'loopsStack' => [],
        'translationReplacements' => [],
    ];

    /** What an application may also set before it renders: a provider that pushes onto a stack, for example. */
    private const CONTENT = ['sections', 'pushes', 'prepends', 'renderedOnce', 'fragments'];

    private static ?Closure $read = null;

    private static ?Closure $write = null;

    /** @var array<string, mixed> */
    private array $state = [];

    public function __construct(private object $views)
    {
        if (! $views instanceof Factory) {
            return;
        }
        self::$read ??= Closure::bind(static function (Factory $views, array $names): array {
            $state = [];
            foreach ($names as $name) {
                $state[$name] = $views->{$name};
            }

            return $state;
        }, null, Factory::class);
        self::$write ??= Closure::bind(static function (Factory $views, array $state): void {
            foreach ($state as $name => $value) {
                $views->{$name} = $value;
            }
        }, null, Factory::class);
        $this->state = self::OPEN + (self::$read)($views, self::CONTENT);
    }

    /** Brings the factory into the state that it had at the start of the call. */
    public function restore(): void
    {
        $this->state === [] || (self::$write)($this->views, $this->state);
    }
}
