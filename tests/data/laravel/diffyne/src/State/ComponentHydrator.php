<?php

namespace Diffyne\State;

use Diffyne\Attributes\QueryString;
use Diffyne\Component;
use ReflectionClass;

final class ComponentHydrator
{
    public function hydrate(string $class, array $state, string $id): Component
    {
        $component = new $class();
        $component->id = $id;
        $component->restoreState($state);
        $component->hydrate();

        return $component;
    }

    public function mount(string $class, array $params = []): Component
    {
        $component = new $class();
        foreach ($component->getUrlProperties() as $name => $key) {
            request()->query($key) === null || $component->{$name} = request()->query($key);
        }
        foreach ($params as $name => $value) {
            if (property_exists($component, $name)) {
                $component->{$name} = $value;
            }
        }
        $component->mount();

        return $component;
    }
}
