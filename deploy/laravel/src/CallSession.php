<?php

namespace Diffyne\Cluster;

use Closure;
use Illuminate\Http\Request;
use Illuminate\Session\NullSessionHandler;

/** The session of the user who makes a call: it may have ended, or end while the call runs. */
final class CallSession
{
    /** @var ?array{object, object} the store of a session that this request must not write, and its own handler */
    private static ?array $discarded = null;

    /**
     * Runs a call and adds to its reply what happened to the user's session.
     *
     * @param Closure(): array $call
     */
    public static function run(Request $request, array $head, Closure $call): array
    {
        $session = $request->hasSession() ? $request->session() : null;
        if ($session === null) {
            $reply = $call();
            $reply['head'] += Users::told($head, null, false);

            return $reply;
        }
        if ($head['kind'] === 'lifecycle') {
            self::leaveNone($request);
        }
        $before = $session->getId();
        $brought = self::isBrought($request, $session);
        $known = $session->has('_flash');
        if ($brought && ! $known && self::isRequired($head)) {
            self::discard($session);

            return BridgeReply::sessionEnded();
        }
        $reply = $call();
        $changed = $session->getId() !== $before;
        $gone = $brought && ! $known && ! $changed;
        // Another request has ended the session while this one ran: it must not be written again. A pool's
        // sessions check that by themselves.
        if (
            $known && $brought && ! $changed && ! property_exists($session, 'endedElsewhere')
            && in_array($session->getHandler()->read($before), ['', false, null], true)
        ) {
            self::discard($session);
            $gone = true;
        }
        $reply['head']['session'] = $changed ? 'changed' : ($gone ? 'gone' : 'same');
        $reply['head'] += Users::told($head, $session, $changed);

        return $reply;
    }

    /** Whether a request has the cookie of a session. A driver that stores nothing cannot lose one. */
    private static function isBrought(Request $request, object $session): bool
    {
        $isStored = ! in_array(config('session.driver'), ['array', 'null', null], true);

        return $isStored && $request->cookies->has($session->getName());
    }

    /**
     * Whether a call must not run without the session that its connection has brought.
     *
     * When another tab logs in, the session of an open WebSocket ends. Its next call would be a guest's.
     */
    private static function isRequired(array $head): bool
    {
        return ($head['session'] ?? '') === 'required' && $head['kind'] !== 'grant';
    }

    /** Stops a call of the fast path that opens a session which has ended. */
    public static function check(object $session, Request $request): void
    {
        if (self::isLost($session, $request)) {
            throw new CallRejection('session_ended', '');
        }
    }

    /** Whether such a call has opened a session that has ended. */
    public static function isLost(object $session, Request $request): bool
    {
        $call = $request->attributes->get('diffyne.call');

        return is_array($call) && self::isRequired($call) && ! $session->existed && self::isBrought($request, $session);
    }

    /** Keeps a call of a gateway or a request of a worker, which is nobody's, from leaving a session behind. */
    public static function leaveNone(Request $request): void
    {
        $session = $request->hasSession() ? $request->session() : null;
        // A pool uses the same store again, and that of an older worker cannot be told.
        if ($session !== null && property_exists($session, 'leavesNothing')) {
            $session->leavesNothing = true;
        } elseif ($session !== null && ! property_exists($session, 'endedElsewhere')) {
            self::discard($session);
        }
    }

    /** Keeps a session from being written at the end of this request. */
    private static function discard(object $session): void
    {
        self::restore();
        self::$discarded = [$session, $session->getHandler()];
        $session->flush();
        $session->setHandler(new NullSessionHandler());
    }

    /** Lets the store of a discarded session be used again, once its request was handled: others may have the same. */
    public static function restore(): void
    {
        [$session, $handler] = self::$discarded ?? [null, null];
        self::$discarded = null;
        $session?->setHandler($handler);
    }
}
