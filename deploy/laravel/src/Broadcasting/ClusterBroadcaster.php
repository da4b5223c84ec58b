<?php

namespace Diffyne\Cluster\Broadcasting;

use Diffyne\Cluster\Channels;
use Diffyne\Cluster\Publisher;
use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Broadcasting\Broadcasters\UsePusherChannelConventions;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Http\Request;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
use Throwable;

/** Broadcasts Laravel's events to the pages of the cluster: BROADCAST_CONNECTION=diffyne. */
final class ClusterBroadcaster extends Broadcaster
{
    use UsePusherChannelConventions;

    private const JSON = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION | JSON_THROW_ON_ERROR;

    /** Serves /broadcasting/auth, for scripts that ask there. Pages of the cluster subscribe with a worker's grant. */
    public function auth($request)
    {
        return $this->member($request, (string) $request->input('channel_name')) ?? throw new AccessDeniedHttpException();
    }

    public function validAuthenticationResponse($request, $result)
    {
        return $result;
    }

    /** What the callback of a guarded channel returns for the user of a request; null if it does not let the user in. */
    public function member(Request $request, string $channel): mixed
    {
        $name = $this->normalizeChannelName($channel);
        try {
            return $this->retrieveUser($request, $name) ? $this->verifyUserCanAccessChannel($request, $name) : null;
        } catch (AccessDeniedHttpException) {
            return null;
        }
    }

    /** @throws BroadcastException if the event was not published, so that a queue tries again */
    public function broadcast(array $channels, $event, array $payload = [])
    {
        $socket = $payload['socket'] ?? null;
        unset($payload['socket']);
        try {
            $items = [];
            foreach ($this->formatChannels($channels) as $channel) {
                $item = ['name' => Channels::eventName((string) $channel, $event), 'params' => [(object) $payload]];
                $items[] = json_encode($item + ($socket === null ? [] : ['except' => $socket]), self::JSON);
            }
            Publisher::send($items);
        } catch (Throwable $error) {
            throw new BroadcastException("Diffyne Cluster did not take {$event}: {$error->getMessage()}", 0, $error);
        }
    }
}
