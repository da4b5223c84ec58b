<?php

namespace Diffyne\Cluster;

use Diffyne\Cluster\Broadcasting\ClusterBroadcaster;
use Illuminate\Contracts\Broadcasting\Factory;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Http\Request;
use InvalidArgumentException;
use Throwable;

/**
 * Events of Laravel's channels. Pages subscribe to them by names such as `private:orders.7:OrderPaid`: the kind of the
 * channel, its name, and the event's. Gateways let nobody subscribe to those of private and presence channels whom a
 * worker has not allowed to.
 */
final class Channels
{
    /** The longest name that gateways take, in bytes. */
    public const NAME_BYTES = 128;

    private const NAME = '/^(channel|private|presence):([^:]+):(.+)$/D';

    private const GUARDED = '/^(private|presence)-(.*)$/D';

    /** Where Laravel puts events; pages leave it out. */
    private const EVENTS = 'App.Events.';

    /**
     * The name under which pages subscribe to an event of a channel.
     *
     * @throws InvalidArgumentException if there can be none
     */
    public static function eventName(string $channel, string $event): string
    {
        if (str_starts_with($channel, 'private-encrypted-')) {
            throw new InvalidArgumentException("Encrypted channels are not supported: {$channel}");
        }
        [$kind, $bare] = preg_match(self::GUARDED, $channel, $found) === 1 ? [$found[1], $found[2]] : ['channel', $channel];
        $name = "{$kind}:{$bare}:".self::shortName($event);
        if ($bare === '' || str_contains($bare, ':') || strlen($name) > self::NAME_BYTES || preg_match('/^[!-~]+$/D', $name) !== 1) {
            $rule = 'needs a name of ASCII characters without spaces, without a colon in the channel, of at most '.self::NAME_BYTES.' bytes';
            throw new InvalidArgumentException("An event of a channel {$rule}: ".mb_strcut($name, 0, 2 * self::NAME_BYTES));
        }

        return $name;
    }

    /** An event's name as pages spell it: `App\Events\Shop\OrderPaid` is `Shop.OrderPaid`. */
    private static function shortName(string $event): string
    {
        $name = ltrim(strtr($event, '\\', '.'), '.');

        return str_starts_with($name, self::EVENTS) ? substr($name, strlen(self::EVENTS)) : $name;
    }

    /** Whether this is the name of a channel's event, and not one that components dispatch. */
    public static function isEvent(string $name): bool
    {
        return preg_match(self::NAME, $name) === 1;
    }

    /** Whether the user of a request may hear an event of a channel, as routes/channels.php has it. */
    public static function mayHear(string $name, Request $request): bool
    {
        if (preg_match(self::NAME, $name, $found) !== 1) {
            return false;
        }

        return $found[1] === 'channel' || self::member("{$found[1]}-{$found[2]}", $request) !== null;
    }

    /**
     * What the callback of a private or presence channel returns for the user of a request; null if the user may not
     * hear the channel. For a presence channel that is what others may know of the user.
     */
    public static function member(string $channel, Request $request): mixed
    {
        try {
            $broadcaster = app(Factory::class)->connection();

            return $broadcaster instanceof ClusterBroadcaster ? $broadcaster->member($request, $channel) : null;
        } catch (Throwable $error) {
            // One callback that fails must not refuse other channels.
            app(ExceptionHandler::class)->report($error);

            return null;
        }
    }

    /** Lets toOthers() leave out the page that a call comes from. */
    public static function nameSocket(Request $request): void
    {
        $client = $request->headers->get('X-Diffyne-Client-Id');
        if ($client !== null && ! $request->headers->has('X-Socket-ID')) {
            $request->headers->set('X-Socket-ID', $client);
        }
    }
}
