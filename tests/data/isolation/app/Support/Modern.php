<?php

namespace App\Support;

/** Properties that no assignment puts back. */
class Modern
{
    /** How often hooks have run. */
    public static int $hooks = 0;

    public string $hooked = 'boot' {
        get {
            self::$hooks++;

            return $this->hooked;
        }
        set {
            self::$hooks++;
            $this->hooked = "set to $value";
        }
    }

    public string $virtual {
        get {
            self::$hooks++;

            return 'virtual';
        }
    }

    public string $hookedWithoutValue {
        get => $this->hookedWithoutValue;
        set => "set to $value";
    }

    public private(set) string $privateSet = 'boot';

    public protected(set) string $protectedSet = 'boot';

    public string $typed;

    public $removed = 'boot';

    private readonly string $own;

    public function __construct(public readonly Keeper $keeper = new Keeper())
    {
        unset($this->removed);
    }

    public function change(string $value): void
    {
        $this->privateSet = $this->protectedSet = $this->typed = $this->removed = $value;
        $this->hooked = $this->hookedWithoutValue = $value;
    }

    /** Keeps the first value. */
    public function first(?string $value): string
    {
        return $this->own ??= $value ?? 'none';
    }

    public function isSet(string $name): bool
    {
        return (new \ReflectionProperty(self::class, $name))->isInitialized($this);
    }
}
