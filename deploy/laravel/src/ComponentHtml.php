<?php

namespace Diffyne\Cluster;

use Closure;
use Diffyne\Component;
use Diffyne\VirtualDOM\PatchSerializer;
use Diffyne\VirtualDOM\Renderer;
use ReflectionMethod;

/** Renders components for a worker that makes the patches. */
final class ComponentHtml
{
    private static ?Closure $render = null;

    /** @var array<string, bool> whether the package makes the response, by the renderer's class */
    private static array $isPackage = [];

    /**
     * Renders a component as this renderer does; null where the application makes patches or responses in a way of
     * its own.
     */
    public static function renderer(Renderer $renderer): ?Closure
    {
        self::$isPackage[$renderer::class] ??= self::isPackage($renderer);
        if (! self::$isPackage[$renderer::class]) {
            return null;
        }
        self::$render ??= Closure::bind(
            static fn (Renderer $renderer, Component $component): string => $renderer->renderComponentView($component),
            null,
            Renderer::class,
        );
        $render = self::$render;

        return static fn (Component $component): string => $render($renderer, $component);
    }

    private static function isPackage(Renderer $renderer): bool
    {
        foreach (['renderUpdate', 'snapshotComponent'] as $method) {
            $declared = (new ReflectionMethod($renderer, $method))->getDeclaringClass();
            if ($declared->getName() !== Renderer::class && ! $declared->implementsInterface(PackageRenderer::class)) {
                return false;
            }
        }

        // Patches with long names are for readers, who see the package's own.
        return method_exists($renderer, 'renderComponentView') && app(PatchSerializer::class)::class === PatchSerializer::class
            && config('diffyne.performance.minify_patches', true);
    }
}
