-- Publishes one broadcast: once, however often it is retried.
-- KEYS: meta, stream, seen (the mark of this id)
-- ARGV: id, event, most entries, most bytes, life of the mark in ms, an epoch in case there is none, channel
local seen = redis.call('GET', KEYS[3])
if seen then return {seen, 1} end
if redis.call('HSETNX', KEYS[1], 'epoch', ARGV[6]) == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'offset', 0, 'bytes', 0, 'last', '')
end
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'last')
local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
local place = string.format('%.0f', offset)
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'last', ARGV[1])
redis.call('XADD', KEYS[2], place .. '-0', 'id', ARGV[1], 'prev', meta[2] or '', 't', now, 'e', ARGV[2])
local bytes = redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[2])
local length = redis.call('XLEN', KEYS[2])
while length > tonumber(ARGV[3]) or (length > 1 and bytes > tonumber(ARGV[4])) do
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[2], oldest[1])
  bytes = redis.call('HINCRBY', KEYS[1], 'bytes', -#oldest[2][8])
  length = length - 1
end
redis.call('SET', KEYS[3], place, 'PX', ARGV[5])
redis.call('PUBLISH', ARGV[7], '{"epoch":"' .. meta[1] .. '","offset":' .. place .. ',"id":"' .. ARGV[1]
  .. '","prev":"' .. (meta[2] or '') .. '","event":' .. ARGV[2] .. '}')
return {place, 0}
