<?php

namespace Diffyne\Cluster;

use Illuminate\Auth\AuthManager;
use Illuminate\Auth\SessionGuard;
use Illuminate\Container\Container;
use InvalidArgumentException;
use RuntimeException;
use Throwable;

/** The application's users, as far as they have pages open: all connections in the cluster of which auth() gives that id. */
final class Users
{
    private const ID_BYTES = 255;

    /** An event of this name is a command to the gateways. */
    private const DISCONNECT = 'diffyne.disconnect';

    /** @var ?list<array> the events of the current call, which a worker publishes when it has succeeded; null outside of calls */
    private static ?array $events = null;

    /** Sends an event to the pages of one user that listen to it. */
    public static function send(string|int $id, string $event, mixed ...$params): void
    {
        $id = self::checked($id);
        $params = array_values($params);
        if (self::$events !== null) {
            self::$events[] = ['user' => $id, 'name' => $event, 'params' => json_encode($params, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR)];
        } else {
            Publisher::publish([json_encode(['name' => $event, 'params' => $params, 'user' => $id], JSON_THROW_ON_ERROR)]);
        }
    }

    /**
     * Ends all connections of a user, and voids what they were granted. $reconnect: pages come back by themselves, as
     * whoever the browser's cookies name by then: after a logout. Otherwise they stay away until they are loaded anew.
     *
     * Does not end the user's session: whoever bans a user does that as well.
     */
    public static function disconnect(string|int $id, bool $reconnect = false): void
    {
        self::send($id, self::DISCONNECT, ['reconnect' => $reconnect]);
    }

    /**
     * The connections of a user, as GET /api/connections lists them: 1000 of each gateway at most.
     *
     * @return list<array<string, mixed>>
     */
    public static function connections(string|int $id): array
    {
        return self::find($id)['connections'];
    }

    /** How many connections a user has. */
    public static function count(string|int $id): int
    {
        return self::find($id)['total'];
    }

    private static function find(string|int $id): array
    {
        $found = AdminApi::get('connections', ['user' => self::checked($id)]);
        if (! is_array($found['connections'] ?? null) || ! is_int($found['total'] ?? null)) {
            throw new RuntimeException('The gateway at DIFFYNE_PUBLISH_URL does not tell its connections.');
        }

        return $found;
    }

    /** Begins a call. */
    public static function begin(): void
    {
        self::$events = [];
    }

    /** @return list<array> the call's events */
    public static function end(): array
    {
        [$events, self::$events] = [self::$events ?? [], null];

        return $events;
    }

    /**
     * What a reply tells of the user: whom auth() names after the call. Only where a gateway has asked, or the call has
     * used auth() or begun another session: otherwise nothing about the user can have changed.
     *
     * @return array{user?: string} empty for a guest
     */
    public static function told(array $head, ?object $session, bool $isNewSession): array
    {
        $app = Container::getInstance();
        $auth = $app->bound('auth') ? $app->make('auth') : null;
        $isAsked = ($head['user'] ?? false) === true;
        if (! $auth instanceof AuthManager || ! ($isAsked || $isNewSession || $auth->hasResolvedGuards())) {
            return [];
        }
        try {
            $id = (string) self::current($auth->guard(), $session);
        } catch (Throwable) {
            // A guard that needs more than the request has.
            return [];
        }

        return ['user' => self::isId($id) ? $id : ''];
    }

    /** The id without a query for the user's other fields, where the session has it. */
    private static function current(object $guard, ?object $session): string|int|null
    {
        if ($guard instanceof SessionGuard && ! $guard->hasUser()) {
            return $session?->get($guard->getName());
        }

        return $guard->id();
    }

    private static function checked(string|int $id): string
    {
        if (! self::isId((string) $id)) {
            throw new InvalidArgumentException('The id of a user has 1 to '.self::ID_BYTES.' bytes, and no control characters.');
        }

        return (string) $id;
    }

    private static function isId(string $id): bool
    {
        return $id !== '' && strlen($id) <= self::ID_BYTES && preg_match('/^[^\x00-\x1f\x7f]+$/D', $id) === 1;
    }
}
