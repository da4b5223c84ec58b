<?php

namespace Diffyne\Cluster;

use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Foundation\Http\Events\RequestHandled;
use Illuminate\Routing\Route;
use Throwable;

/** Publishes the events of AJAX calls that did not come through a worker. */
final class Publisher
{
    private const TIMEOUT_SECONDS = 2;

    /** Publishes the events of a response that are for everybody, once it was sent. */
    public static function handled(RequestHandled $handled): void
    {
        [$request, $response] = [$handled->request, $handled->response];
        $route = $request->route();
        // A worker publishes the events of its own calls.
        if ($request->attributes->has('diffyne.call') || ! $route instanceof Route || ! str_starts_with(ltrim($route->getActionName(), '\\'), 'Diffyne\\') || ! $request->isMethod('POST')) {
            return;
        }
        $bySecret = (string) $request->header('X-Diffyne-Bridge');
        // Decoded to objects, so that an empty object stays one.
        $events = json_decode((string) $response->getContent())->events ?? null;
        // A worker publishes the events of its own calls.
        if (! is_array($events) || ($bySecret !== '' && hash_equals(Bridge::secret(), $bySecret))) {
            return;
        }
        $depth = is_array($request->input('cause')) ? (int) ($request->input('cause')['depth'] ?? 0) + 1 : 0;
        $items = self::broadcasts($events, (string) $request->header('X-Diffyne-Client-Id'), $depth);
        if ($items !== []) {
            app()->terminating(static fn () => self::publish($items));
        }
    }

    /** @return list<string> */
    private static function broadcasts(array $events, string $client, int $depth): array
    {
        $wanted = array_map('trim', explode(',', (string) config('diffyne.cluster.broadcast_events')));
        if ($depth > (int) config('diffyne.cluster.broadcast_depth')) {
            return [];
        }
        $items = [];
        foreach ($events as $event) {
            $name = $event->name ?? null;
            if (is_string($name) && ($event->to ?? null) === null && array_intersect([$name, '*'], $wanted) !== []) {
                $item = ['name' => $name, 'params' => array_values((array) ($event->params ?? [])), 'depth' => $depth];
                $items[] = json_encode($client === '' ? $item : $item + ['except' => $client], JSON_THROW_ON_ERROR);
            }
        }

        return $items;
    }

    /** @param list<string> $items events as JSON */
    public static function publish(array $items): void
    {
        try {
            $url = config('diffyne.cluster.publish_url');
            foreach (is_string($url) && $url !== '' ? $items : [] as $item) {
                $headers = ['Content-Type: application/json', 'Authorization: Bearer '.config('diffyne.cluster.admin_token')];
                $http = ['method' => 'POST', 'header' => $headers, 'content' => $item, 'timeout' => self::TIMEOUT_SECONDS];
                file_get_contents($url, false, stream_context_create(['http' => $http]));
            }
            if (! is_string($url) || $url === '') {
                app('redis')->connection()->rpush('{diffyne}:ingress', ...$items);
            }
        } catch (Throwable $error) {
            app(ExceptionHandler::class)->report($error);
        }
    }
}
