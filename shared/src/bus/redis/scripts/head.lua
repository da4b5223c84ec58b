-- The head of the history, made if there is none: {epoch, offset, last id}.
-- KEYS: meta, stream   ARGV: an epoch in case there is none
if redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1]) == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'offset', 0, 'bytes', 0, 'last', '')
end
return redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'last')
