<?php

namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Attributes\Lazy;
use Illuminate\Support\Facades\Request as RequestFacade;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\Facades\URL;

/** Tells everything about the request that it sees. */
#[Lazy]
class Asked extends Plain
{
    public string $seen = '';

    #[Invokable]
    public function ask(string $first, array $second): void
    {
        $this->seen = json_encode(self::describe(), JSON_THROW_ON_ERROR);
    }

    public function mount(): void
    {
        $this->seen = json_encode(self::describe(), JSON_THROW_ON_ERROR);
    }

    public function updated(string $property): void
    {
        $this->seen = json_encode(self::describe(), JSON_THROW_ON_ERROR);
    }

    private static function describe(): array
    {
        $request = request();
        $headers = ['content-type', 'accept', 'x-requested-with', 'host', 'user-agent', 'accept-language', 'x-http-method-override', 'x-diffyne-bridge'];

        return [
            'path' => $request->path(), 'method' => $request->method(), 'real' => $request->getRealMethod(), 'post' => $request->isMethod('post'),
            'url' => $request->url(), 'full' => $request->fullUrl(), 'uri' => $request->getRequestUri(), 'segments' => $request->segments(),
            'is' => [$request->is('*/update'), $request->is('_diffyne-bridge')], 'route is' => $request->routeIs('diffyne.*'),
            'route' => [$request->route()?->getName(), $request->route()?->uri(), Route::currentRouteName(), Route::is('diffyne.update'), app(\Illuminate\Routing\Route::class)->uri()],
            'json' => [$request->isJson(), $request->wantsJson(), $request->expectsJson(), $request->ajax(), $request->acceptsHtml()],
            'input' => [$request->input('type'), $request->input('params.1.deep'), $request->has('state'), $request->missing('query'), $request->query(), $request->post('componentId')],
            'all' => array_diff(array_keys($request->all()), ['requestId']), 'bag' => $request->json('componentClass'), 'facade' => RequestFacade::input('type'),
            'content' => json_decode($request->getContent(), true)['componentClass'] ?? null, 'length' => (int) $request->header('Content-Length') === strlen($request->getContent()),
            'headers' => array_combine($headers, array_map(fn ($name) => $request->header($name), $headers)),
            'who' => [$request->ip(), $request->isSecure(), $request->getHost(), $request->getPort(), $request->userAgent()],
            'server' => [$request->server('REQUEST_METHOD'), $request->server('REQUEST_URI'), $request->server('CONTENT_TYPE')],
            'urls' => [url('/x'), url()->current(), url()->full(), route('diffyne.update'), asset('a.js')],
            'signed' => [preg_replace('/signature=\w+/', '', URL::signedRoute('diffyne.update', ['a' => 1])), $request->merge(['later' => 'added'])->input('later')],
            'of middleware' => [$request->input('tenant'), $request->header('x-tenant'), $request->attributes->get('tenant')],
        ];
    }
}
