<?php

namespace Diffyne;

use Diffyne\Attributes\Computed;
use Diffyne\Attributes\Locked;
use Diffyne\Attributes\On;
use Diffyne\Attributes\QueryString;
use Diffyne\Exceptions\RedirectException;
use Illuminate\Pagination\LengthAwarePaginator;
use Illuminate\Support\Facades\Storage;
use Illuminate\Support\Facades\Validator;
use Illuminate\Support\MessageBag;
use Illuminate\Support\Str;
use Illuminate\View\View;
use InvalidArgumentException;
use ReflectionClass;
use ReflectionProperty;
use TypeError;

abstract class Component
{
    public string $id;

    protected array $hidden = [];

    protected array $locked = [];

    protected array $computed = [];

    protected array $events = [];

    protected array $browserEvents = [];

    protected MessageBag $bag;

    public function __construct()
    {
        $this->id = 'diffyne-'.Str::random(16);
        $this->bag = new MessageBag();
    }

    abstract public function render(): View|string;

    public function mount(): void
    {
    }

    public function hydrate(): void
    {
    }

    public function updating(string $property, mixed $value): void
    {
    }

    public function updated(string $property): void
    {
    }

    /** @return array<string, ReflectionProperty> */
    private function tracked(): array
    {
        $tracked = [];
        foreach ((new ReflectionClass($this))->getProperties(ReflectionProperty::IS_PUBLIC) as $property) {
            $name = $property->getName();
            $computed = $property->getAttributes(Computed::class) !== [];
            if (! $property->isStatic() && $name !== 'id' && ! $computed && ! in_array($name, $this->hidden)) {
                $tracked[$name] = $property;
            }
        }

        return $tracked;
    }

    public function getState(): array
    {
        return array_map(fn (ReflectionProperty $property) => self::plain($property->getValue($this)), $this->tracked());
    }

    private static function plain(mixed $value): mixed
    {
        return ! $value instanceof LengthAwarePaginator ? $value : [
            '__paginator' => true, 'items' => array_map(fn ($item) => (array) $item, $value->items()), 'total' => $value->total(),
            'per_page' => $value->perPage(), 'current_page' => $value->currentPage(), 'path' => $value->path(),
        ];
    }

    private static function restored(mixed $value): mixed
    {
        return ! is_array($value) || ($value['__paginator'] ?? null) !== true ? $value : new LengthAwarePaginator(
            array_map(fn ($item) => (object) $item, $value['items']), $value['total'], $value['per_page'], $value['current_page'], ['path' => $value['path']]
        );
    }

    public function restoreState(array $state): void
    {
        foreach (array_intersect_key($state, $this->tracked()) as $name => $value) {
            try {
                $this->{$name} = self::restored($value);
            } catch (TypeError $error) {
                if ($value !== null) {
                    throw $error;
                }
                $zero = ['string' => '', 'int' => 0, 'float' => 0.0, 'bool' => false, 'array' => []];
                $this->{$name} = $zero[(string) $this->tracked()[$name]->getType()] ?? null;
            }
        }
    }

    public function updateProperty(string $property, mixed $value): void
    {
        if (! isset($this->tracked()[$property])) {
            throw new InvalidArgumentException("Property [{$property}] does not exist on component.");
        }
        $reflection = $this->tracked()[$property];
        if (in_array($property, $this->computed)) {
            throw new InvalidArgumentException("Property [{$property}] is computed and cannot be updated.");
        }
        if (in_array($property, $this->locked) || $reflection->getAttributes(Locked::class) !== []) {
            throw new InvalidArgumentException("Property [{$property}] is locked and cannot be updated from client.");
        }
        $this->updating($property, $value);
        $wrap = (string) $reflection->getType() === 'array' && ! is_array($value);
        $this->{$property} = $wrap ? ($value === null ? [] : [$value]) : $value;
        $this->updated($property);
    }

    public function getEventListeners(): array
    {
        $listeners = [];
        foreach ((new ReflectionClass($this))->getMethods() as $method) {
            foreach ($method->getAttributes(On::class) as $on) {
                $listeners[$on->newInstance()->event][] = $method->getName();
            }
        }

        return $listeners;
    }

    /** @return array<string, string> names in the address by property */
    public function getUrlProperties(): array
    {
        $names = [];
        foreach ($this->tracked() as $name => $property) {
            foreach ($property->getAttributes(QueryString::class) as $attribute) {
                $names[$name] = $attribute->newInstance()->as ?? $name;
            }
        }

        return $names;
    }

    public function getQueryString(): array
    {
        $query = [];
        foreach ($this->tracked() as $name => $property) {
            foreach ($property->getAttributes(QueryString::class) as $attribute) {
                $value = $property->getValue($this);
                if ($attribute->newInstance()->keep || ($value !== null && $value !== '')) {
                    $query[$attribute->newInstance()->as ?? $name] = $value;
                }
            }
        }

        return $query;
    }

    public function calculateFingerprint(): string
    {
        return md5(json_encode($this->getState()));
    }

    public function getErrorBag(): MessageBag
    {
        return $this->bag;
    }

    public function setErrorBag(array $errors): void
    {
        $this->bag = new MessageBag($errors);
    }

    public function clearDispatchedEvents(): void
    {
        $this->events = [];
    }

    public function getDispatchedEvents(): array
    {
        return $this->events;
    }

    public function getBrowserEvents(): array
    {
        return $this->browserEvents;
    }

    protected function validate(array $rules): array
    {
        return Validator::make($this->getState(), $rules)->validate();
    }

    protected function moveTemporaryFile(string $identifier, string $destination): ?string
    {
        $path = TemporaryFiles::path($identifier);

        return $path !== null && Storage::disk('local')->move($path, $destination) ? $destination : null;
    }

    protected function redirect(string $url, bool $spa = true): never
    {
        throw new RedirectException(['url' => $url, 'spa' => $spa]);
    }

    protected function dispatch(string $event, ...$params): self
    {
        return $this->tell($event, $params, null, false);
    }

    protected function dispatchTo(string|array $components, string $event, ...$params): self
    {
        return $this->tell($event, $params, (array) $components, false);
    }

    protected function dispatchSelf(string $event, ...$params): self
    {
        return $this->tell($event, $params, [$this->id], true);
    }

    private function tell(string $name, array $params, ?array $to, bool $self): self
    {
        $this->events[] = compact('name', 'params', 'to', 'self');

        return $this;
    }

    protected function dispatchBrowserEvent(string $name, mixed $data = null): self
    {
        $this->browserEvents[] = compact('name', 'data');

        return $this;
    }
}
