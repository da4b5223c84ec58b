<?php

namespace Diffyne\Cluster;

use Closure;
use Illuminate\Container\Container;
use Illuminate\Http\Request;
use Illuminate\Routing\Route;
use Illuminate\Routing\Router;
use Symfony\Component\HttpFoundation\InputBag;

/**
 * Makes the request that components see: the one that a page would have sent to the package's own endpoint.
 *
 * The application's middleware has seen the bridge's route before.
 */
final class EndpointRequest
{
    /** Name and path of the package's routes, by kind of call. Grants have none of their own. */
    private const ROUTES = [
        'mount' => ['diffyne.loadLazy', '/update/lazy'],
        'update' => ['diffyne.update', '/update'],
    ];

    /** Server variables that contain the path of a request. */
    private const PATH_VARIABLES = ['REQUEST_URI', 'DOCUMENT_URI', 'PATH_INFO', 'PHP_SELF', 'SCRIPT_NAME', 'UNENCODED_URL'];

    /** @var array<string, Route> */
    private array $routes = [];

    private static ?Closure $reset = null;

    private static ?Closure $setCurrent = null;

    /** @return array<string, string> the server variables that differ from those of the bridge's route */
    public function serverVariables(string $kind, string $payload): array
    {
        return [
            'REQUEST_METHOD' => 'POST',
            'REQUEST_URI' => '/'.$this->route($kind)->uri(),
            'CONTENT_TYPE' => 'application/json',
            'CONTENT_LENGTH' => (string) strlen($payload),
        ];
    }

    /** Makes this of a request to the bridge's route, which everybody holds who has asked for the request before. */
    public function replace(Request $request, string $kind, string $payload): void
    {
        $variables = $this->serverVariables($kind, $payload);
        foreach (self::PATH_VARIABLES as $name) {
            $path = $request->server->get($name);
            if (is_string($path) && str_ends_with($path, '/'.Bridge::PATH)) {
                $variables[$name] = substr($path, 0, -strlen('/'.Bridge::PATH)).'/'.$this->route($kind)->uri();
            }
        }
        $request->server->add($variables);
        $request->headers->add(['Content-Type' => $variables['CONTENT_TYPE'], 'Content-Length' => $variables['CONTENT_LENGTH']]);
        foreach (['X-HTTP-Method-Override', 'X-Diffyne-Bridge'] as $name) {
            $request->headers->remove($name);
            $request->server->remove('HTTP_'.strtoupper(strtr($name, '-', '_')));
        }
        self::$reset ??= Closure::bind(static function (Request $request, string $payload): void {
            [$request->content, $request->method, $request->format] = [$payload, null, null];
            [$request->pathInfo, $request->requestUri, $request->baseUrl, $request->basePath] = [null, null, null, null];
        }, null, Request::class);
        (self::$reset)($request, $payload);
        Channels::nameSocket($request);
        $this->setCurrentRoute($request, $kind);
    }

    /** Makes the package's route the current one. */
    public function setCurrentRoute(Request $request, string $kind): Route
    {
        // The package's paths have no parameters, so that what is bound once fits every request.
        $route = clone $this->route($kind);
        $app = Container::getInstance();
        $route->setContainer($app);
        $request->setRouteResolver(static fn () => $route);
        Services::set(Route::class, $route);
        self::$setCurrent ??= Closure::bind(static function (Router $router, Route $route, Request $request): void {
            [$router->current, $router->currentRequest] = [$route, $request];
        }, null, Router::class);
        (self::$setCurrent)(Services::get('router'), $route, $request);

        return $route;
    }

    /** Gives the call's message, which is decoded already, to the request, and what middleware has added to its input. */
    public function fill(mixed $data): void
    {
        $request = Services::get('request');
        $added = $request->request->all();
        $input = new InputBag($added === [] ? (array) $data : array_replace((array) $data, $added));
        $request->request = $input;
        $request->setJson($input);
    }

    private function route(string $kind): Route
    {
        $kind = $kind === 'mount' ? 'mount' : 'update';

        return $this->routes[$kind] ??= self::findRoute(...self::ROUTES[$kind]);
    }

    private static function findRoute(string $name, string $path): Route
    {
        $routes = app('router')->getRoutes();
        $uri = trim((string) config('diffyne.route_prefix', '_diffyne'), '/').$path;
        $route = $routes->getByName($name);
        foreach ($route === null ? $routes->getRoutes() : [] as $other) {
            if ($other->uri() === $uri && in_array('POST', $other->methods(), true)) {
                $route = $other;
            }
        }
        $route ??= (new Route(['POST'], $uri, ['uses' => static fn () => null, 'as' => $name]))->setRouter(app('router'));

        return $route->bind(Request::create('http://localhost/'.$uri, 'POST'));
    }
}
