-- Reads rooms: who is in them at each gateway that counts.
-- KEYS: states (hash), deadlines (sorted set)   ARGV: how names of members' keys begin, and the rooms
-- Returns the gateways as {id, state, ms that it counts on, ...}, and of each room {{gateway, {id, value, ...}}, ...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local peers, rooms = {}, {}
for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.0f', now), '+inf')) do
  local state = redis.call('HGET', KEYS[1], gateway)
  if state then
    peers[#peers + 1] = gateway
    peers[#peers + 1] = state
    peers[#peers + 1] = string.format('%.0f', redis.call('ZSCORE', KEYS[2], gateway) - now)
  end
end
for at = 2, #ARGV do
  local room = {}
  for peer = 1, #peers, 3 do
    local members = redis.call('HGETALL', ARGV[1] .. peers[peer] .. ':' .. ARGV[at])
    if #members > 0 then room[#room + 1] = {peers[peer], members} end
  end
  rooms[at - 1] = room
end
return {peers, rooms}
