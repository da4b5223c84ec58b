<?php

namespace Diffyne\VirtualDOM;

use Diffyne\Component;
use Diffyne\Security\StateSigner;
use DOMComment;
use DOMDocument;
use DOMElement;
use DOMNode;
use DOMText;
use Illuminate\View\View;

/** Its one patch replaces everything, in a list whose only key is 1: an object when it is printed. */
class Renderer
{
    private array $snapshots = [];

    public function snapshotComponent(Component $component): void
    {
        $this->snapshots[$component->id] = $this->renderComponentView($component);
    }

    public function clearAllSnapshots(): void
    {
        $this->snapshots = [];
    }

    public function renderInitial(Component $component): array
    {
        $html = $this->renderComponentView($component);

        return ['html' => $html, 'eventListeners' => $component->getEventListeners()] + $this->state($component);
    }

    public function renderUpdate(Component $component): array
    {
        $html = $this->renderComponentView($component);
        $same = ($this->snapshots[$component->id] ?? null) === $html;

        return $this->state($component) + [
            'patches' => $same ? [] : [1 => ['t' => 'c', 'p' => [], 'd' => ['node' => $this->tree($html)]]],
            'errors' => $component->getErrorBag()->toArray(),
            'queryString' => $component->getQueryString(),
            'events' => $component->getDispatchedEvents(),
            'browserEvents' => $component->getBrowserEvents(),
        ];
    }

    private function state(Component $component): array
    {
        $state = $component->getState();

        return [
            'id' => $component->id,
            'state' => $state,
            'fingerprint' => $component->calculateFingerprint(),
            'signature' => StateSigner::sign($state, $component->id),
        ];
    }

    protected function renderComponentView(Component $component): string
    {
        $view = $component->render();

        return trim($view instanceof View ? $view->with(get_object_vars($component))->render() : $view);
    }

    private function tree(string $html): array
    {
        $document = new DOMDocument();
        @$document->loadHTML('<?xml encoding="UTF-8"><body>'.$html.'</body>', LIBXML_NOERROR);
        foreach ($document->getElementsByTagName('body')->item(0)->childNodes as $child) {
            if ($child instanceof DOMElement) {
                return $this->node($child);
            }
        }

        return ['t' => 'div'];
    }

    private function node(DOMNode $node): ?array
    {
        if ($node instanceof DOMText) {
            return trim($node->textContent) === '' ? null : ['x' => $node->textContent];
        }
        if ($node instanceof DOMComment) {
            return ['m' => $node->textContent];
        }
        $element = ['t' => $node->nodeName];
        foreach ($node->attributes as $attribute) {
            $element['a'][$attribute->nodeName] = $attribute->nodeValue;
        }
        $children = array_values(array_filter(array_map($this->node(...), iterator_to_array($node->childNodes))));

        return $children === [] ? $element : $element + ['c' => $children];
    }
}
