-- Adds events to the history under the next offsets, and publishes them in one message. Part of publish.lua and
-- ingress.lua.
-- A message with one event is what every version of a gateway reads. One with several has no id: gateways up to 0.2
-- take it for a hint that there is something in the stream.

-- Entries that are read at a time to make room.
local TRIM_MAX = 256

-- Removes the oldest entries until the stream is within its limits: most entries, most bytes. Returns its bytes.
local function trim(stream, bytes, limits)
  local length = redis.call('XLEN', stream)
  local function too_large() return length > limits[1] or (length > 1 and bytes > limits[2]) end
  while too_large() do
    local excess = math.max(length - limits[1], math.ceil((bytes - limits[2]) * length / bytes))
    local last
    for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', math.min(excess, TRIM_MAX))) do
      if not too_large() then break end
      bytes, length, last = bytes - #entry[2][8], length - 1, entry[1]
    end
    -- Ids are OFFSET-0. All up to the last one go at once.
    redis.call('XTRIM', stream, 'MINID', string.match(last, '^%d+') .. '-1')
  end
  return bytes
end

-- keys: meta, stream; one id for each event; limits: most entries, most bytes. Returns the offset of the first event.
local function append(meta_key, stream, ids, events, limits, epoch, channel)
  local meta = redis.call('HMGET', meta_key, 'epoch', 'last', 'bytes')
  if not meta[1] then
    meta = {epoch, '', '0'}
    redis.call('HSET', meta_key, 'epoch', epoch, 'offset', 0)
    redis.call('DEL', stream)
  end
  local count, before, bytes, parts = #ids, meta[2] or '', tonumber(meta[3]) or 0, {}
  local first = redis.call('HINCRBY', meta_key, 'offset', count) - count + 1
  local head = '{"epoch":"' .. meta[1] .. '","offset":' .. string.format('%.0f', first) .. ',"prev":"' .. before .. '",'
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  for at = 1, count do
    local id, event = ids[at], events[at]
    redis.call('XADD', stream, string.format('%.0f-0', first + at - 1), 'id', id, 'prev', before, 't', now, 'e', event)
    parts[at] = '["' .. id .. '",' .. event .. ']'
    bytes, before = bytes + #event, id
  end
  redis.call('HSET', meta_key, 'last', before, 'bytes', trim(stream, bytes, limits))
  local body = '"batch":[' .. table.concat(parts, ',') .. ']}'
  if count == 1 then body = '"id":"' .. ids[1] .. '","event":' .. events[1] .. '}' end
  redis.call('PUBLISH', channel, head .. body)
  return first
end
