<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\On;
use Diffyne\Cluster\SendsToUsers;
use Diffyne\Cluster\Users;
use Diffyne\Component;
use Illuminate\Support\Facades\Auth;

/** Sends events to users, and logs its own in and out. */
class Seller extends Component
{
    use SendsToUsers;

    public string $text = '';

    #[On('order-paid')]
    public function hear(array $order): void
    {
    }

    #[Invokable]
    public function enter(int $id): void
    {
        Auth::loginUsingId($id);
    }

    #[Invokable]
    public function leave(): void
    {
        Auth::logout();
        session()->invalidate();
    }

    /** Without a word about users. */
    #[Invokable]
    public function sayNothing(): void
    {
        $this->text = 'nothing';
    }

    #[Invokable]
    public function sell(int $user, int $n): void
    {
        $this->dispatch('noted', $n);
        $this->dispatch('order-paid', ['n' => $n])->toUser($user);
        $this->dispatchSelf('sold');
    }

    #[Invokable]
    public function sellAndFail(int $user): void
    {
        $this->dispatch('order-paid', ['n' => -1])->toUser($user);
        throw new \RuntimeException('on purpose');
    }

    #[Invokable]
    public function sellBadly(): void
    {
        $this->dispatchSelf('sold')->toUser(1);
    }

    #[Invokable]
    public function expel(int $user): void
    {
        Users::disconnect($user, reconnect: true);
    }

    public function render(): string
    {
        return '<p>'.e($this->text).'</p>';
    }
}
