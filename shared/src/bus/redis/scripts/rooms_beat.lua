-- Keeps a gateway's rooms alive, and clears those of gateways that are gone.
-- KEYS: states (hash), deadlines (sorted set)
-- ARGV: the gateway, its state ('' at its first beat), life in ms, how names of its members' keys begin, how those of its
--       list of rooms begin, how many rooms to clear at most
-- Returns the gateway's state as it is here, and of each other gateway: its id, its state, how many ms it counts on.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = tonumber(ARGV[6])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))) do
  if gone ~= ARGV[1] and left > 0 then
    -- First, since a gateway that comes back must see that something is missing.
    redis.call('HDEL', KEYS[1], gone)
    local rooms = redis.call('SPOP', ARGV[5] .. gone, left)
    for _, room in ipairs(rooms) do redis.call('DEL', ARGV[4] .. gone .. ':' .. room) end
    if #rooms < left then redis.call('ZREM', KEYS[2], gone) end
    left = left - #rooms
  end
end
local own = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if own == '' and ARGV[2] == '' then
  own = '0'
  redis.call('HSET', KEYS[1], ARGV[1], own)
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
local answer = {own}
local states = redis.call('HGETALL', KEYS[1])
for at = 1, #states, 2 do
  local until_ms = states[at] ~= ARGV[1] and redis.call('ZSCORE', KEYS[2], states[at])
  if until_ms and tonumber(until_ms) > now then
    answer[#answer + 1] = states[at]
    answer[#answer + 1] = states[at + 1]
    answer[#answer + 1] = string.format('%.0f', tonumber(until_ms) - now)
  end
end
return answer
