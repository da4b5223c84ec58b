-- Renews the epoch, if it is still the one that was found broken, and tells everybody.
-- KEYS: meta, stream   ARGV: old epoch, new epoch, channel
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'offset', 0, 'bytes', 0, 'last', '')
redis.call('PUBLISH', ARGV[3], '{"epoch":"' .. ARGV[2] .. '","offset":0}')
return 1
