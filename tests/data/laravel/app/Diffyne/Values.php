<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\Lazy;
use Diffyne\Attributes\On;
use Diffyne\Component;

/** Holds values that do not come back from every page as they were. */
#[Lazy]
class Values extends Component
{
    public mixed $value = null;

    public string $text = '';

    public static function made(string $what): mixed
    {
        return match ($what) {
            'minus zero' => round(-0.3),
            'snowflake' => 432224099704639488,
            'smallest' => PHP_INT_MIN,
            'in a list' => ['rows' => [['id' => 432224099704639488], ['id' => 432224099704639489]]],
            'large float' => 1e18,
            'huge float' => 1.5e300,
            'small float' => 1e-7,
            'whole float' => 1.0,
            'order' => [7 => 'x', 3 => 'y', 'n' => 'z', 0 => 'w'],
            'object' => (object) ['b' => '', 'a' => (object) [], 'c' => -0.0],
            'no number' => NAN,
            'no text' => ['name' => "caf\xe9"],
            'deep' => self::nested(509),
            'too deep' => self::nested(510),
        };
    }

    private static function nested(int $levels): array
    {
        return $levels === 1 ? [] : [self::nested($levels - 1)];
    }

    #[Invokable]
    public function make(string $what): void
    {
        $this->value = self::made($what);
    }

    #[Invokable]
    public function find(int $id): void
    {
        $this->text = "found $id";
    }

    /** The order of the keys as PHP has it. */
    #[Invokable]
    public function keys(): void
    {
        $this->text = implode(',', array_keys($this->value));
    }

    #[Invokable]
    public function tell(): void
    {
        $this->dispatch('message-sent', 432224099704639488);
    }

    #[On('message-sent')]
    public function hear(int $id): void
    {
        $this->text = "heard $id";
    }

    public function render(): string
    {
        return '<section><p>'.e($this->text).'</p><input diff:model.live="text" value="'.e($this->text).'"><input id="value" diff:model="value">'
            .'<button id="snowflake" diff:click=\'make("snowflake")\'>snowflake</button><button id="zero" diff:click=\'make("minus zero")\'>zero</button>'
            .'<button id="order" diff:click=\'make("order")\'>order</button><button id="keys" diff:click="keys">keys</button>'
            .'<button id="find" diff:click="find(432224099704639488)">find</button><button id="tell" diff:click="tell">tell</button></section>';
    }
}
