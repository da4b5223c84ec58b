<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;

/** Throws what applications throw, in a method, in a hook, or while it is rendered. */
class Refusals extends Plain
{
    public string $kind = '';

    #[Invokable]
    public function refuse(string $kind): void
    {
        self::throw($kind);
    }

    /** The next rendering of this state throws. */
    #[Invokable]
    public function refuseToRender(string $kind): void
    {
        $this->kind = $kind;
    }

    public function updating(string $property, mixed $value): void
    {
        self::throw($value);
    }

    public function render(): string
    {
        $this->kind === '' || self::throw($this->kind);

        return parent::render();
    }

    private static function throw(string $kind): void
    {
        match ($kind) {
            'argument' => throw new \InvalidArgumentException('Only even numbers, please.'),
            'argument below' => throw new class ('Not this one.') extends \InvalidArgumentException {},
            'call' => throw new \BadMethodCallException('Not before noon.'),
            'macro' => \Illuminate\Support\Str::thereIsNoSuchMacro(),
            'validation' => throw \Illuminate\Validation\ValidationException::withMessages(['text' => 'Too long.']),
            'domain' => throw new \DomainException('secret of the domain'),
            'logic' => throw new \LogicException('secret logic'),
            'function' => throw new \BadFunctionCallException('secret function'),
            'authorization' => throw new \Illuminate\Auth\Access\AuthorizationException('secret right'),
            'authentication' => throw new \Illuminate\Auth\AuthenticationException('secret guest'),
            'model' => throw (new \Illuminate\Database\Eloquent\ModelNotFoundException())->setModel('App\\SecretModel', [7]),
            'abort' => abort(403, 'secret refusal'),
            'missing' => abort(404),
            'response' => throw new \Illuminate\Http\Exceptions\HttpResponseException(response('secret page', 418)),
            'type' => strlen([]),
            'error' => throw new \Error('secret error'),
            'notice' => [][count([])],
            'division' => intdiv(1, strlen('')),
            'query' => \Illuminate\Support\Facades\DB::select('select secret from nowhere'),
            'no UTF-8' => throw new \InvalidArgumentException("Not \xff this."),
            'fine' => null,
        };
    }
}
