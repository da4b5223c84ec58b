-- Keeps which gateway has subscribers in which room, and finds rooms with the first and without the last one.
-- KEYS: leases (sorted set: gateway -> deadline), rooms (hash: room -> gateways), last version, the beginning of the names
--   in:GATEWAY (set: the rooms of a gateway), news:GATEWAY (hash: room -> version; what it has to tell) and
--   lost (set: gateways whose rooms are being taken over)
-- ARGV: gateway, life in ms, flags (f: first call, s: may sweep, l: leaves), where the repetition of all news goes on
--   ('': none is under way), number of rooms entered, rooms; number of rooms left, rooms; number of news told, (room, version)
-- Answers {known, where the repetition goes on ('': it has ended), whether more is to be taken over, {room, version,
--   occupied, ...}}. A room `lost:GATEWAY` stands for a gateway that has ended.

-- Rooms of a lost gateway that are swept at a time, and about as many news are repeated.
local STEP_MAX = 500

local leases, rooms, versions, base = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local gateway, life, flags = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local own, news, losses = base .. 'in:' .. gateway, base .. 'news:' .. gateway, base .. 'lost'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function has(flag) return string.find(flags, flag, 1, true) ~= nil end

local cursor, at = ARGV[4], 5
local function list(width)
  local count = tonumber(ARGV[at])
  local values = {}
  for index = at + 1, at + count * width do values[#values + 1] = ARGV[index] end
  at = at + 1 + count * width
  return values
end
local entered, left, told = list(1), list(1), list(2)

-- News are told until they are settled, so what settles them has to be of the same version. It grows by the clock as well:
-- Redis may come back empty.
local version
local answer = {}
local function tell(room)
  if not version then
    version = math.max(tonumber(redis.call('GET', versions) or '0'), time[1] * 1000000 + time[2])
  end
  version = version + 1
  redis.call('HSET', news, room, string.format('%.0f', version))
  answer[#answer + 1] = room
end

-- Takes over what another gateway had to tell. It stays the same news.
local function adopt(room, its)
  local mine = redis.call('HGET', news, room)
  if not mine or tonumber(mine) < tonumber(its) then redis.call('HSET', news, room, its) end
  answer[#answer + 1] = room
end

local function leave(room)
  local count = redis.call('HINCRBY', rooms, room, -1)
  if count <= 0 then redis.call('HDEL', rooms, room) end
  return count
end

for index = 1, #told, 2 do
  if redis.call('HGET', news, told[index]) == told[index + 1] then redis.call('HDEL', news, told[index]) end
end

-- A gateway whose rooms are being taken over has to report all of them again.
local known = redis.call('ZSCORE', leases, gateway) and redis.call('SISMEMBER', losses, gateway) == 0
if not known and not has('f') then return {0, '', 0, {}} end
if has('f') then redis.call('SREM', losses, gateway) end
redis.call('ZADD', leases, string.format('%.0f', now + life), gateway)

for _, room in ipairs(entered) do
  if redis.call('SADD', own, room) == 1 and redis.call('HINCRBY', rooms, room, 1) == 1 then tell(room) end
end
for _, room in ipairs(left) do
  if redis.call('SREM', own, room) == 1 and leave(room) <= 0 then tell(room) end
end

-- One gateway at a time. Its lease stays until all is taken over, so that whoever sweeps may end as well.
local ended = string.format('%.0f', now)
local gone = has('s') and redis.call('ZRANGEBYSCORE', leases, '-inf', ended, 'LIMIT', 0, 1)[1]
if gone then
  local its_own, its_news = base .. 'in:' .. gone, base .. 'news:' .. gone
  if redis.call('SADD', losses, gone) == 1 then tell('lost:' .. gone) end
  for _, room in ipairs(redis.call('SPOP', its_own, STEP_MAX)) do
    local untold = redis.call('HGET', its_news, room)
    redis.call('HDEL', its_news, room)
    if leave(room) <= 0 then tell(room) elseif untold then adopt(room, untold) end
  end
  if redis.call('SCARD', its_own) == 0 then
    -- What was taken over before has left gaps, in which one scan finds nothing.
    local scan, rest = '0', {}
    repeat
      local page = redis.call('HSCAN', its_news, scan, 'COUNT', STEP_MAX)
      scan, rest = page[1], page[2]
    until scan == '0' or #rest > 0
    for index = 1, #rest, 2 do
      redis.call('HDEL', its_news, rest[index])
      adopt(rest[index], rest[index + 1])
    end
    if redis.call('HLEN', its_news) == 0 then
      redis.call('ZREM', leases, gone)
      redis.call('SREM', losses, gone)
    end
  end
end

if version then redis.call('SET', versions, string.format('%.0f', version)) end
if cursor ~= '' then
  local scanned = redis.call('HSCAN', news, cursor, 'COUNT', STEP_MAX)
  cursor = scanned[1] ~= '0' and scanned[1] or ''
  for index = 1, #scanned[2], 2 do answer[#answer + 1] = scanned[2][index] end
end
-- What a gateway could not tell is taken over by the others when its lease has ended.
if has('l') and redis.call('SCARD', own) == 0 and redis.call('HLEN', news) == 0 then
  redis.call('ZREM', leases, gateway)
end
local found = {}
for _, room in ipairs(answer) do
  local of = redis.call('HGET', news, room)
  if of then
    found[#found + 1] = room
    found[#found + 1] = of
    found[#found + 1] = redis.call('HEXISTS', rooms, room)
  end
end
local is_left = has('s') and redis.call('ZCOUNT', leases, '-inf', ended) > 0
return {1, cursor, is_left and 1 or 0, found}
