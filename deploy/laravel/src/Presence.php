<?php

namespace Diffyne\Cluster;

use Illuminate\Auth\AuthManager;
use Illuminate\Container\Container;
use RuntimeException;

/** Who is in a room: the users whose pages have entered it, over all gateways. */
final class Presence
{
    /** How the names of rooms of presence channels begin. */
    public const CHANNEL = 'presence:';

    /**
     * The members of a room: of an event, with the fields that make the room, or of a presence channel of Laravel.
     *
     *     Presence::in('message-sent', ['room_id' => 7])
     *     Presence::in('presence-room.7')
     *
     * Asks the gateway of DIFFYNE_PUBLISH_URL.
     *
     * @return list<array{id: string, info: mixed}> each user once
     */
    public static function in(string $room, array $match = []): array
    {
        if (str_starts_with($room, 'presence-')) {
            $room = self::CHANNEL.substr($room, strlen('presence-'));
        }
        if ($match !== []) {
            $room .= json_encode($match, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION | JSON_THROW_ON_ERROR);
        }
        $found = Gateway::ask('GET', '/api/presence?'.http_build_query(['room' => $room]));
        if (! is_array($found['members'] ?? null)) {
            throw new RuntimeException('The gateway at DIFFYNE_PUBLISH_URL does not tell who is in a room.');
        }

        return $found['members'];
    }

    /** Whether a user is in a room. */
    public static function has(string $room, string|int $user, array $match = []): bool
    {
        return in_array((string) $user, array_column(self::in($room, $match), 'id'), true);
    }

    /**
     * How gateways are told of a member: by the `id` of what the others may know, or else the user's own.
     *
     * @return ?array{id: string, info: mixed} null: the user may not enter
     */
    public static function member(mixed $info): ?array
    {
        if ($info === null || $info === false) {
            return null;
        }
        $id = is_array($info) && (is_string($info['id'] ?? null) || is_int($info['id'] ?? null)) ? $info['id'] : self::user();

        return $id === null || $id === '' ? null : ['id' => (string) $id, 'info' => is_array($info) && $info !== [] ? $info : (object) []];
    }

    private static function user(): string|int|null
    {
        $app = Container::getInstance();
        $auth = $app->bound('auth') ? $app->make('auth') : null;

        return $auth instanceof AuthManager ? $auth->guard()->id() : null;
    }
}
