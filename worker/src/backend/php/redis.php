<?php

/*
 * Connections to Redis, which stay open from call to call. Comes over standard input, before connections.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Illuminate\Redis\Connections\Connection;
    use Illuminate\Redis\Connections\PhpRedisConnection;
    use Illuminate\Redis\RedisManager;
    use Predis\Client;
    use Redis;
    use Throwable;
    use WeakMap;

    /** Gets the events of a connection's commands, and passes them on where the application wants them. */
    final class RedisCommands
    {
        /** Commands whose effect lasts as long as the connection. */
        private const LASTING = ['watch', 'auth', 'client', 'hello', 'reset', 'readonly', 'monitor', 'acl'];

        /** Commands of whose effect phpredis tells, unless they were raw ones. */
        private const LASTING_UNSEEN = ['select', 'multi', 'transaction', 'subscribe', 'psubscribe', 'ssubscribe', 'pubsubloop'];

        private const RAW = ['rawcommand', 'executeraw', 'executecommand'];

        /** Whether there was one. */
        public bool $isLasting = false;

        /** @param bool $tells whether the client tells of its connection's state */
        public function __construct(private ?object $events, private bool $tells)
        {
        }

        public function dispatch(object $event, mixed ...$arguments): mixed
        {
            // Of a command that failed, too.
            $command = strtolower($event->command ?? '');
            $isRaw = in_array($command, self::RAW, true);
            if ($isRaw) {
                $command = strtolower((string) (((array) ($event->parameters[0] ?? []))[0] ?? ''));
            }
            $isLasting = in_array($command, self::LASTING, true) || (($isRaw || ! $this->tells) && in_array($command, self::LASTING_UNSEEN, true));
            $this->isLasting = $this->isLasting || $isLasting;

            return $this->events?->dispatch($event, ...$arguments);
        }

        public function __call(string $method, array $arguments): mixed
        {
            return $this->events?->{$method}(...$arguments);
        }
    }

    /**
     * Connects anew where a call has changed a connection. The connection's object stays: others may have got it.
     *
     * What the extension phpredis tells of a connection is compared with what it was (database, options, transaction); the
     * rest is learned from the commands that went through Laravel's connection. Other clients connect anew in each call.
     */
    final class RedisConnections
    {
        private RedisManager $redis;

        /** The configuration of all connections after the start. */
        private array $config;

        /** @var list<int> all options of clients */
        private array $options = [];

        /** @var WeakMap<Connection, array{Redis|Client, RedisCommands, list<mixed>}> the client of each, its commands, and what it knew at first */
        private WeakMap $known;

        /** @var WeakMap<Connection, true> those that providers have opened */
        private WeakMap $openedAtStart;

        private Closure $connect;

        private Closure $observe;

        public function __construct(private object $app, RedisManager $redis)
        {
            $this->redis = $redis;
            $this->config = (array) $app['config']['database.redis'];
            [$this->known, $this->openedAtStart] = [new WeakMap(), new WeakMap()];
            foreach (extension_loaded('redis') ? (new \ReflectionClass(Redis::class))->getConstants() : [] as $name => $option) {
                str_starts_with($name, 'OPT_') && $this->options[] = $option;
            }
            $this->connect = Closure::bind(static function (PhpRedisConnection $connection): void {
                // A persistent connection would be found again.
                @$connection->client->close();
                $connection->client = ($connection->connector)();
            }, null, PhpRedisConnection::class);
            $this->observe = Closure::bind(static function (Connection $connection): RedisCommands {
                $events = $connection->events instanceof RedisCommands ? null : $connection->events;

                return $connection->events = new RedisCommands($events, $connection->client instanceof Redis);
            }, null, Connection::class);
            foreach ($redis->connections() ?? [] as $connection) {
                if ($this->isObservable($connection)) {
                    $this->openedAtStart[$connection] = true;
                    $this->learn($connection);
                }
            }
        }

        /**
         * Runs while the call's configuration still holds.
         *
         * @return bool whether all connections are as after the start
         */
        public function reset(): bool
        {
            $isWhole = true;
            foreach ($this->redis->connections() ?? [] as $name => $connection) {
                $isClean = isset($this->known[$connection]) && $this->isClean($name, $connection);
                // Predis does not notice that a server has closed a connection.
                if ($isClean && ! $connection->client() instanceof Client) {
                    continue;
                }
                // What a provider has set on its connection is lost with it.
                $isWhole = $isWhole && ($isClean || ! isset($this->openedAtStart[$connection]));
                try {
                    $this->renew($name, $connection);
                } catch (Throwable) {
                    // Its server is gone, perhaps. The next call connects anew.
                    $this->redis->purge($name);
                }
            }

            return $isWhole;
        }

        private function isClean(string $name, Connection $connection): bool
        {
            [$client, $commands, $was] = $this->known[$connection];

            return $this->isConfigured($name) && $connection->client() === $client && $connection->getEventDispatcher() === $commands
                && ! $commands->isLasting && $this->state($client) === $was;
        }

        private function isConfigured(string $name): bool
        {
            return ($this->app['config']['database.redis'][$name] ?? null) === ($this->config[$name] ?? null);
        }

        private function isObservable(Connection $connection): bool
        {
            return $connection->client() instanceof Client || ($connection->client() instanceof Redis && $connection instanceof PhpRedisConnection);
        }

        private function renew(string $name, Connection $connection): void
        {
            if (! $this->isConfigured($name) || ! $this->isObservable($connection)) {
                $this->redis->purge($name);

                return;
            }
            // Predis connects again by itself.
            $connection->client() instanceof Client ? $connection->client()->disconnect() : ($this->connect)($connection);
            $this->learn($connection);
        }

        private function learn(Connection $connection): void
        {
            $client = $connection->client();
            $this->known[$connection] = [$client, ($this->observe)($connection), $this->state($client)];
        }

        /** @return list<mixed> what the client tells of its connection */
        private function state(Redis|Client $client): array
        {
            return $client instanceof Client ? [] : [$client->getMode(), $client->getDBNum(), ...array_map($client->getOption(...), $this->options)];
        }
    }
}
