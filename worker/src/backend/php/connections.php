<?php

/*
 * Connections to databases and Redis, which stay open from call to call. Comes over standard input, after catalogue.php.
 */

namespace Diffyne\Cluster\Loop {

    use Closure;
    use Illuminate\Database\Connection;
    use Illuminate\Database\DatabaseManager;
    use Illuminate\Database\Events\ConnectionEstablished;
    use Illuminate\Redis\RedisManager;
    use PDO;
    use Throwable;
    use WeakMap;

    /**
     * Takes a call's traces off connections, and closes those on which a trace would stay.
     *
     * A connection is closed when its configuration differs from the one after the start (a tenant's database), when a
     * statement has changed the session that the server keeps for it, and when its database lives in memory.
     */
    final class Connections
    {
        /** Properties of a connection that stay: what it is connected to, and by what. */
        public const KEPT = [
            DatabaseManager::class => ['connections'],
            RedisManager::class => ['connections'],
            Connection::class => ['pdo', 'readPdo', 'queryGrammar', 'schemaGrammar', 'postProcessor', 'doctrineConnection', 'version'],
        ];

        /** Statements whose effect lasts as long as the connection. */
        private const LASTING = '/^\s*(?:set|use|create\s+(?:(?:global|local)\s+)?temp|lock|attach|detach|pragma|declare|listen|load|prepare|discard|reset|alter\s+session|select\s+(?:get_lock|pg_advisory_lock|pg_try_advisory_lock|set_config|load_extension))\b/i';

        private const ATTRIBUTES = [PDO::ATTR_ERRMODE, PDO::ATTR_CASE, PDO::ATTR_ORACLE_NULLS, PDO::ATTR_DEFAULT_FETCH_MODE];

        private ?DatabaseManager $database = null;

        private ?RedisManager $redis = null;

        /** The configuration of all connections after the start. */
        private array $databaseConfig;

        private array $redisConfig;

        /** @var WeakMap<Connection, Closure(): void> puts a connection's properties back */
        private WeakMap $fresh;

        /** @var WeakMap<Connection, true> connections to close */
        private WeakMap $changed;

        /** @var WeakMap<PDO, list<mixed>> attributes when they were first seen */
        private WeakMap $attributes;

        /** @param Closure(object): Closure $take takes an object's properties down, and returns what puts them back */
        public function __construct(private object $app, private Closure $take)
        {
            [$this->fresh, $this->changed, $this->attributes] = [new WeakMap(), new WeakMap(), new WeakMap()];
            $config = $app['config'];
            [$this->databaseConfig, $this->redisConfig] = [(array) $config['database.connections'], (array) $config['database.redis']];
            $database = $app->bound('db') ? $app->make('db') : null;
            if ($database instanceof DatabaseManager) {
                $this->database = $database;
                array_map($this->watch(...), $database->getConnections());
                $app['events']->listen(ConnectionEstablished::class, fn (ConnectionEstablished $event) => $this->watch($event->connection));
            }
            $redis = $app->resolved('redis') ? $app->make('redis') : null;
            $this->redis = $redis instanceof RedisManager ? $redis : null;
        }

        private function watch(Connection $connection): void
        {
            if (method_exists($connection, 'beforeExecuting')) {
                $connection->beforeExecuting(function (string $query, array $bindings, Connection $connection): void {
                    preg_match(self::LASTING, $query) === 1 && $this->changed[$connection] = true;
                });
            }
            $this->fresh[$connection] = ($this->take)($connection);
        }

        /** Runs while the call's configuration still holds. */
        public function reset(): void
        {
            foreach ($this->database?->getConnections() ?? [] as $name => $connection) {
                try {
                    $this->clean($name, $connection) || $this->database->purge($name);
                } catch (Throwable) {
                    // Its server is gone, perhaps. The next call connects anew.
                    guarded(fn () => $this->database->purge($name));
                }
            }
            foreach ($this->redis?->connections() ?? [] as $name => $connection) {
                guarded(fn () => $this->isCleanRedis($name, $connection) || $this->redis->purge($name));
            }
        }

        /** Whether the next call may use the connection. */
        private function clean(string $name, Connection $connection): bool
        {
            while ($connection->transactionLevel() > 0) {
                $connection->rollBack();
            }
            $config = explode('::', $name)[0];
            if (
                isset($this->changed[$connection]) || ! isset($this->fresh[$connection])
                || ($this->app['config']["database.connections.$config"] ?? null) !== ($this->databaseConfig[$config] ?? null)
                || str_contains((string) $connection->getDatabaseName(), ':memory:')
            ) {
                return false;
            }
            foreach ([$connection->getRawPdo(), $connection->getRawReadPdo()] as $pdo) {
                if ($pdo instanceof PDO && ! $this->isCleanPdo($pdo)) {
                    return false;
                }
            }
            $this->fresh[$connection]();

            return true;
        }

        private function isCleanPdo(PDO $pdo): bool
        {
            $pdo->inTransaction() && $pdo->rollBack();
            $attributes = array_map($pdo->getAttribute(...), self::ATTRIBUTES);
            // Laravel sets them when it connects; a call that changes them in its first use of a connection is not noticed.
            $this->attributes[$pdo] ??= $attributes;

            return $this->attributes[$pdo] === $attributes;
        }

        private function isCleanRedis(string $name, object $connection): bool
        {
            $config = $this->app['config']['database.redis'][$name] ?? null;
            if ($config !== ($this->redisConfig[$name] ?? null)) {
                return false;
            }
            $client = $connection->client();

            return ! $client instanceof \Redis
                || ($client->getMode() === \Redis::ATOMIC && $client->getDBNum() === (int) ($config['database'] ?? 0));
        }
    }
}
