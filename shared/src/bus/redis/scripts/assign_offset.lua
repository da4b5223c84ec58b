-- Adds one event to the history under the next offset, and publishes it. Part of publish.lua and ingress.lua.
-- keys: meta, stream; limits: most entries, most bytes
local function append(meta_key, stream, id, event, limits, epoch, channel)
  if redis.call('HSETNX', meta_key, 'epoch', epoch) == 1 then
    redis.call('DEL', stream)
    redis.call('HSET', meta_key, 'offset', 0, 'bytes', 0, 'last', '')
  end
  local meta = redis.call('HMGET', meta_key, 'epoch', 'last')
  local offset = redis.call('HINCRBY', meta_key, 'offset', 1)
  local place = string.format('%.0f', offset)
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('HSET', meta_key, 'last', id)
  redis.call('XADD', stream, place .. '-0', 'id', id, 'prev', meta[2] or '', 't', now, 'e', event)
  local bytes = redis.call('HINCRBY', meta_key, 'bytes', #event)
  local length = redis.call('XLEN', stream)
  while length > limits[1] or (length > 1 and bytes > limits[2]) do
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', stream, oldest[1])
    bytes = redis.call('HINCRBY', meta_key, 'bytes', -#oldest[2][8])
    length = length - 1
  end
  redis.call('PUBLISH', channel, '{"epoch":"' .. meta[1] .. '","offset":' .. place .. ',"id":"' .. id
    .. '","prev":"' .. (meta[2] or '') .. '","event":' .. event .. '}')
  return place
end
