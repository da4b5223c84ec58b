-- Takes a gateway's report of its members, once, and tells the other gateways.
-- KEYS: states (hash), deadlines (sorted set), the gateway's list of rooms (set)
-- ARGV: the gateway, the state that it has to have here, the state that it has then, life in ms, how names of its members'
--       keys begin, channel, message, and of each room: its name, 'whole' if all others of it go, how many leave, their
--       ids, how many come, their ids and values
-- Returns 1 if the report is here, 0 if this does not follow what is here.
local state = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if state == ARGV[3] then return 1 end
if state ~= ARGV[2] then return 0 end
local at = 8
local function take()
  at = at + 1
  return ARGV[at - 1]
end
while at <= #ARGV do
  local room, is_whole = take(), take() == 'whole'
  local key = ARGV[5] .. room
  if is_whole then redis.call('DEL', key) end
  for _ = 1, tonumber(take()) do redis.call('HDEL', key, take()) end
  for _ = 1, tonumber(take()) do
    local id = take()
    redis.call('HSET', key, id, take())
  end
  if redis.call('EXISTS', key) == 1 then redis.call('SADD', KEYS[3], room) else redis.call('SREM', KEYS[3], room) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
local time = redis.call('TIME')
local deadline = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4])
redis.call('ZADD', KEYS[2], string.format('%.0f', deadline), ARGV[1])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return 1
