<?php

namespace Diffyne;

use Diffyne\Attributes\Lazy;
use Diffyne\State\ComponentHydrator;
use Diffyne\VirtualDOM\Renderer;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Support\Str;
use ReflectionClass;

/** Components on pages: `app('diffyne')->mount(Counter::class, ['count' => 5])`. */
class DiffyneManager
{
    private array $aliases = [];

    public function __construct(private Application $app)
    {
    }

    public function component(string $alias, string $class): void
    {
        $this->aliases[$alias] = $class;
    }

    public function getComponents(): array
    {
        return $this->aliases;
    }

    public function mount(string $component, array $params = []): string
    {
        $class = $this->aliases[$component] ?? $component;
        foreach ((new ReflectionClass($class))->getAttributes(Lazy::class) as $lazy) {
            return $this->mountLazy($class, $params, $lazy->newInstance());
        }
        $rendered = $this->app->make(Renderer::class)->renderInitial($this->app->make(ComponentHydrator::class)->mount($class, $params));

        $attributes = array_intersect_key($rendered, ['id' => 0, 'fingerprint' => 0, 'signature' => 0]);
        $attributes += ['state' => json_encode((object) $rendered['state']), 'listeners' => json_encode($rendered['eventListeners'])];

        return self::wrapper($class, $attributes, $rendered['html']);
    }

    protected function mountLazy(string $componentClass, array $params, Lazy $lazyAttr): string
    {
        return self::wrapper($componentClass, ['id' => 'diffyne-'.Str::random(16), 'params' => json_encode((object) $params)], (string) $lazyAttr->placeholder);
    }

    private static function wrapper(string $class, array $attributes, string $html): string
    {
        $text = '<div diff:class="'.e($class).'"';
        foreach ($attributes as $name => $value) {
            $text .= " diff:$name=\"".e($value).'"';
        }

        return "$text data-diffyne-component>$html</div>";
    }
}
