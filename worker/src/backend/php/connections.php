<?php

/*
 * Connections to databases, which stay open from call to call. Comes over standard input, after redis.php.
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
     * statement has changed the session that the server keeps for it, and when its database lives in memory. If a provider
     * has opened it at the start, what the provider has set there is lost with it, and the process has to be replaced.
     */
    final class Connections
    {
        /** Properties of a connection that stay: what it is connected to, and by what. */
        public const KEPT = [
            DatabaseManager::class => ['connections'],
            RedisManager::class => ['connections'],
            \Illuminate\Redis\Connections\Connection::class => ['client', 'events'],
            Connection::class => ['pdo', 'readPdo', 'queryGrammar', 'schemaGrammar', 'postProcessor', 'doctrineConnection', 'version'],
        ];

        /** Statements whose effect lasts as long as the connection, or may: nobody knows what a procedure does. */
        private const LASTING = '/(?:^|;)(?:\s|\/\*.*?\*\/|(?:--|\#)[^\n]*\n)*(?:set|use|create\s+(?:or\s+replace\s+)?(?:(?:global|local)\s+)?temp(?:orary)?
            |create\s+table\s+\#|lock|flush|attach|detach|pragma|declare|listen|load|prepare|exec(?:ute)?|call|do|begin|start|savepoint|handler|xa|discard
            |reset|alter\s+session)\b|\b(?:get_lock|pg_(?:try_)?advisory_lock(?:_shared)?|set_config|load_extension)\s*\(
            |@\w+\s*:=|\binto\s+(?:@|\#|temp(?:orary)?\b)/isx';

        /** Runs statements whose results stay unread, so that the connection takes no other. */
        private const WITHOUT_RESULTS = 'unprepared';

        /** Attributes that calls may change and every driver knows, and their values on Laravel's own connections. */
        private const ATTRIBUTES = [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_CASE => PDO::CASE_NATURAL,
            PDO::ATTR_ORACLE_NULLS => PDO::NULL_NATURAL,
            PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_BOTH,
        ];

        private ?DatabaseManager $database = null;

        private ?RedisConnections $redis = null;

        /** The configuration of all connections after the start. */
        private array $databaseConfig;

        /** @var WeakMap<Connection, Closure(): void> puts a connection's properties back */
        private WeakMap $fresh;

        /** @var WeakMap<Connection, array{Closure, ?Closure}> what connects it, for writing and for reading */
        private WeakMap $connectors;

        /** @var WeakMap<Connection, true> connections to close */
        private WeakMap $changed;

        /** @var WeakMap<PDO, array<int, mixed>> the attributes that each should have */
        private WeakMap $attributes;

        /** @var WeakMap<Connection, \WeakReference<PDO>> what was open after the start */
        private WeakMap $openedAtStart;

        /** @param Closure(object): Closure $take takes an object's properties down, and returns what puts them back */
        public function __construct(private object $app, private Closure $take)
        {
            [$this->fresh, $this->connectors, $this->changed] = [new WeakMap(), new WeakMap(), new WeakMap()];
            [$this->attributes, $this->openedAtStart] = [new WeakMap(), new WeakMap()];
            $this->databaseConfig = (array) $app['config']['database.connections'];
            $database = $app->bound('db') ? $app->make('db') : null;
            if ($database instanceof DatabaseManager) {
                $this->database = $database;
                foreach ($database->getConnections() as $connection) {
                    $this->watch($connection);
                    foreach (self::open($connection) as $pdo) {
                        $this->openedAtStart[$connection] ??= \WeakReference::create($pdo);
                        $this->attributes[$pdo] = self::attributes($pdo);
                    }
                }
                $app['events']->listen(ConnectionEstablished::class, fn (ConnectionEstablished $event) => $this->watch($event->connection));
            }
            $redis = $app->resolved('redis') ? $app->make('redis') : null;
            $this->redis = $redis instanceof RedisManager ? new RedisConnections($app, $redis) : null;
        }

        private function watch(Connection $connection): void
        {
            if (method_exists($connection, 'beforeExecuting')) {
                $connection->beforeExecuting(function (string $query, array $bindings, Connection $connection): void {
                    $isUnprepared = (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 3)[2]['function'] ?? '') === self::WITHOUT_RESULTS;
                    if ($isUnprepared || preg_match(self::LASTING, $query) !== 0) {
                        $this->changed[$connection] = true;
                    }
                });
            }
            $this->fresh[$connection] = ($this->take)($connection);
            if ($connection->getRawPdo() instanceof Closure) {
                $this->connectors[$connection] = [$connection->getRawPdo(), $connection->getRawReadPdo()];
            }
        }

        /**
         * Runs while the call's configuration still holds.
         *
         * @return bool whether all connections are as after the start
         */
        public function reset(): bool
        {
            $isClean = true;
            foreach ($this->database?->getConnections() ?? [] as $name => $connection) {
                try {
                    $isClean = $this->clean($name, $connection) && $isClean;
                } catch (Throwable) {
                    // Its server is gone, perhaps. The next call connects anew.
                    $isClean = $isClean && ! isset($this->openedAtStart[$connection]);
                    guarded(fn () => $this->closeBroken($name, $connection));
                }
            }

            return ($this->redis?->reset() ?? true) && $isClean;
        }

        private function clean(string $name, Connection $connection): bool
        {
            while ($connection->transactionLevel() > 0) {
                $connection->rollBack();
            }
            $config = explode('::', $name)[0];
            $isKnown = isset($this->databaseConfig[$config]) && ($this->app['config']["database.connections.$config"] ?? null) === $this->databaseConfig[$config];
            if (! $isKnown || ! isset($this->fresh[$connection])) {
                $this->database->purge($name);

                return true;
            }
            $open = self::open($connection);
            $isChanged = isset($this->changed[$connection]) || str_contains((string) $connection->getDatabaseName(), ':memory:');
            foreach ($open as $pdo) {
                $isChanged = ! $this->isCleanPdo($pdo, $connection) || $isChanged;
            }
            unset($this->changed[$connection]);
            ($this->fresh[$connection])();
            // Until Laravel 11, the grammar has a prefix of its own.
            $grammar = $connection->getQueryGrammar();
            method_exists($grammar, 'setTablePrefix') && $grammar->setTablePrefix($connection->getTablePrefix());
            // The object stays: others may have got it. It connects again at its next use.
            $isChanged && $this->close($connection);

            // What a provider has set on its connection is lost with it.
            return ! isset($this->openedAtStart[$connection]) || $this->openedAtStart[$connection]->get() === $connection->getRawPdo();
        }

        private function closeBroken(string $name, Connection $connection): void
        {
            unset($this->changed[$connection]);
            if (isset($this->fresh[$connection], $this->connectors[$connection])) {
                $this->close($connection);
                ($this->fresh[$connection])();
            } else {
                $this->database->purge($name);
            }
        }

        private function close(Connection $connection): void
        {
            $connection->disconnect();
            if (isset($this->connectors[$connection])) {
                [$write, $read] = $this->connectors[$connection];
                $connection->setPdo($write)->setReadPdo($read);
            }
        }

        /** @return list<PDO> */
        private static function open(Connection $connection): array
        {
            return array_filter([$connection->getRawPdo(), $connection->getRawReadPdo()], static fn (mixed $pdo): bool => $pdo instanceof PDO);
        }

        private static function attributes(PDO $pdo): array
        {
            return array_combine(array_keys(self::ATTRIBUTES), array_map($pdo->getAttribute(...), array_keys(self::ATTRIBUTES)));
        }

        private function isCleanPdo(PDO $pdo, Connection $connection): bool
        {
            $pdo->inTransaction() && $pdo->rollBack();
            $this->attributes[$pdo] ??= array_intersect_key((array) $connection->getConfig('options') + self::ATTRIBUTES, self::ATTRIBUTES);

            // Their order may differ.
            return $this->attributes[$pdo] == self::attributes($pdo);
        }
    }
}
