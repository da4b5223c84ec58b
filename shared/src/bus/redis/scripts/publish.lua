-- Publishes a batch of one gateway's broadcasts: each once, however often the batch is retried. Behind
-- assign_offset.lua.
-- The mark holds the number of the gateway's last broadcast here, and the offset of the first one of its batch. A
-- gateway sends the next batch when this one is acknowledged, and repeats a batch as it was.
-- KEYS: meta, stream, mark
-- ARGV: most entries, most bytes, life of the mark in ms, an epoch in case there is none, channel, the gateway,
--       and of each broadcast, in rising order: its number, its event
-- Returns how many of them were here already, and the offset of the first one.
local last, offset = string.match(redis.call('GET', KEYS[3]) or '0 0', '^(%d+) (%d+)$')
local known, ids, events = 0, {}, {}
for at = 7, #ARGV, 2 do
  if tonumber(ARGV[at]) <= tonumber(last) then
    known = known + 1
  else
    ids[#ids + 1] = ARGV[6] .. '-' .. ARGV[at]
    events[#events + 1] = ARGV[at + 1]
  end
end
if #ids == 0 then return {known, tonumber(offset)} end
local limits = {tonumber(ARGV[1]), tonumber(ARGV[2])}
local first = append(KEYS[1], KEYS[2], ids, events, limits, ARGV[4], ARGV[5])
redis.call('SET', KEYS[3], ARGV[#ARGV - 1] .. ' ' .. string.format('%.0f', first), 'PX', ARGV[3])
return {known, first}
