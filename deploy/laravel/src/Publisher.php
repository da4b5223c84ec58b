<?php

namespace Diffyne\Cluster;

use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Foundation\Http\Events\RequestHandled;
use Illuminate\Routing\Route;
use RuntimeException;
use Throwable;

/** Publishes events that no worker publishes: those of AJAX calls that reach the application, and of channels. */
final class Publisher
{
    private const PATH = '/api/broadcast';

    /** The most events in a request to a gateway. */
    private const EVENTS_MAX = 1000;

    /** The list in Redis from which gateways take events. */
    private const INGRESS = '{diffyne}:ingress';

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
            self::send($items);
        } catch (Throwable $error) {
            app(ExceptionHandler::class)->report($error);
        }
    }

    /**
     * Publishes events: through a gateway's API, or else through the application's own Redis.
     *
     * @param list<string> $items as JSON
     *
     * @throws RuntimeException if a gateway does not take them; Redis has exceptions of its own
     */
    public static function send(array $items): void
    {
        if (! Gateway::isKnown()) {
            $items === [] || app('redis')->connection()->rpush(self::INGRESS, ...$items);

            return;
        }
        foreach (array_chunk($items, self::EVENTS_MAX) as $batch) {
            Gateway::ask('POST', self::PATH, count($batch) === 1 ? $batch[0] : '['.implode(',', $batch).']');
        }
    }

    /**
     * Publishes nothing, in the way in which events go.
     *
     * @throws Throwable if events would not arrive
     */
    public static function check(): void
    {
        Gateway::isKnown() ? Gateway::ask('POST', self::PATH, '[]') : app('redis')->connection()->llen(self::INGRESS);
    }
}
