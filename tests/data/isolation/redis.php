<?php

/*
 * The same as isolation.php, for what a connection to Redis keeps. `phpredis`: with that extension only.
 */

return [
    'database of Redis' => ['change' => 'Redis::select(3); Redis::set("left", 1);', 'read' => 'return [\App\Support\Proofs::redisInfo("db"), Redis::get("left")];'],
    'database of Redis, in a raw command' => ['change' => 'Redis::executeRaw(["SELECT", "3"]); Redis::set("left", 1);', 'read' => 'return [\App\Support\Proofs::redisInfo("db"), Redis::get("left")];'],
    'transaction of Redis' => ['change' => 'Redis::multi(); Redis::set("left", 1);', 'read' => 'return [\App\Support\Proofs::redisInfo("multi"), Redis::get("left")];'],
    'transaction of Redis, in a raw command' => ['change' => 'Redis::executeRaw(["MULTI"]); Redis::executeRaw(["SET", "left", "1"]);', 'read' => 'return [\App\Support\Proofs::redisInfo("multi"), Redis::get("left")];'],
    'pipeline of Redis' => ['change' => 'Redis::pipeline()->set("left", 1);', 'read' => 'return Redis::get("left");'],
    // Somebody else changes the key: a transaction of this connection would fail if it watched.
    'watched key of Redis' => ['change' => 'Redis::executeRaw(["SET", "watched", "0"]); Redis::executeRaw(["WATCH", "watched"]);', 'read' => '\App\Support\Proofs::otherRedis(\'$r->incr("watched");\'); Redis::executeRaw(["MULTI"]); Redis::executeRaw(["PING"]); return (bool) Redis::executeRaw(["EXEC"]);'],
    'watched key of Redis, in Laravel\'s words' => ['change' => 'Redis::set("watched", 0); Redis::watch("watched");', 'read' => '\App\Support\Proofs::otherRedis(\'foreach ($r->keys("*watched") as $key) { $r->incr($key); }\'); Redis::executeRaw(["MULTI"]); Redis::executeRaw(["PING"]); return (bool) Redis::executeRaw(["EXEC"]);'],
    'name of a connection to Redis' => ['change' => 'Redis::executeRaw(["CLIENT", "SETNAME", "left"]);', 'read' => 'return \App\Support\Proofs::redisInfo("name");'],
    'user of Redis' => ['change' => 'Redis::executeRaw(["ACL", "SETUSER", "left", "on", "nopass", "+@all", "~*", "&*"]); Redis::executeRaw(["AUTH", "left", "x"]);', 'read' => 'return \App\Support\Proofs::redisInfo("user");'],
    'options of phpredis' => ['change' => 'Redis::client()->setOption(\Redis::OPT_PREFIX, "left"); Redis::client()->setOption(\Redis::OPT_SERIALIZER, \Redis::SERIALIZER_PHP); Redis::client()->setOption(\Redis::OPT_READ_TIMEOUT, 1);', 'read' => '$client = Redis::client(); return [$client->getOption(\Redis::OPT_PREFIX) === "left", $client->getOption(\Redis::OPT_SERIALIZER), $client->getOption(\Redis::OPT_READ_TIMEOUT)];', 'phpredis' => true],
    'subscription of Redis that timed out' => ['change' => 'Redis::client()->setOption(\Redis::OPT_READ_TIMEOUT, 0.2); try { Redis::subscribe(["left"], fn () => 1); } catch (\RedisException) {}', 'read' => 'Redis::set("own", 1); return [\App\Support\Proofs::redisInfo("sub"), Redis::get("own")];', 'phpredis' => true],
    // After an exception, phpredis waits until its next read has ended.
    'subscription of Redis that a call has left' => ['change' => 'Redis::client() instanceof \Redis && Redis::client()->setOption(\Redis::OPT_READ_TIMEOUT, 0.5); $publish = \'for ($i = 0; $i < 500 && $r->publish("left", "x") + $r->publish(getenv("CHANNEL"), "x") === 0; $i++) { usleep(10000); }\'; exec("CHANNEL=".escapeshellarg(config("database.redis.options.prefix")."left")." php8.4 -r ".escapeshellarg(\'$r = new Redis(); $r->connect("127.0.0.1", \'.env("REDIS_PORT").\'); \'.$publish)." >/dev/null 2>&1 &"); try { Redis::subscribe(["left"], fn () => throw new \RuntimeException("enough")); } catch (\RuntimeException) {}', 'read' => 'Redis::set("own", 1); return [\App\Support\Proofs::redisInfo("sub"), Redis::get("own")];'],
    'connection that Redis has closed' => ['change' => 'Redis::get("own"); \App\Support\Proofs::otherRedis(\'$r->rawCommand("CLIENT", "KILL", "TYPE", "normal");\');', 'read' => 'Redis::set("own", 1); return Redis::get("own");'],
    'connections to Redis that a provider has opened' => ['change' => 'app("left.redis")->select(3);', 'read' => 'return app("left.redis")->client()->getDBNum();', 'phpredis' => true, 'replaced' => true],
];
