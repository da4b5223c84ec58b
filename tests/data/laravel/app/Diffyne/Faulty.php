<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\Lazy;
use Illuminate\Support\Facades\DB;

/** Fails as applications do, each time with a word of its own. */
#[Lazy]
class Faulty extends Plain
{
    public string $view = '';

    public function mount(): void
    {
        $this->text === 'mount' && throw new \LogicException('fault in mount');
    }

    #[Invokable]
    public function fail(string $how): void
    {
        match ($how) {
            'method' => throw new \LogicException('fault in method'),
            'argument' => throw new \InvalidArgumentException('fault in argument'),
            'macro' => collect()->faultInMacro(),
            'type' => strlen(['fault in type']),
            'class' => new \App\FaultInClass(),
            'query' => DB::table('fault_in_query')->where('name', "users' own value")->get(),
            'constraint' => DB::table('users')->insert(['id' => 1, 'name' => "users' own value", 'password' => 'x']),
            'view', 'blade' => $this->view = $how,
            'memory' => str_repeat('x', 2_000_000_000),
            'slowly' => (static function (): void {
                for ($rows = []; ;) {
                    $rows[] = [1, 2, 3, count($rows)];
                }
            })(),
            'middleware' => throw new \RuntimeException('The middleware has not failed.'),
            'after' => app()->terminating(static fn () => DB::table('users')->insert(['name' => "users' own value", 'fault_after_the_answer' => 1])),
            'trait' => eval('class FaultyClass { use \\FaultInTrait; }'),
        };
    }

    public function updated(string $property): void
    {
        throw new \LogicException('fault in updated');
    }

    public function render(): string
    {
        return match ($this->view) {
            'view' => view('fault-in-view')->render(),
            'blade' => \Illuminate\Support\Facades\Blade::render('{{ $faultInBlade }}'),
            default => parent::render(),
        };
    }
}
