-- Takes items from the head of the ingress list and publishes them, in one step: a crash neither loses nor doubles one.
-- Behind assign_offset.lua. Takes none when another gateway was faster.
-- KEYS: meta, stream, ingress
-- ARGV: most entries, most bytes, an epoch in case there is none, channel, how many items to return, how many bytes of
--       them, how many items may wait, and of each item in order: the item as it was seen, its id or '' to drop it,
--       and the event to publish or '' if that is the item itself
-- Returns how many items wait, how many of the oldest were dropped because more waited than may, and the items that are
-- next, for the next call; none to whom another gateway left nothing.
local seen, taken, ids, events = 5, 0, {}, {}
for _, item in ipairs(redis.call('LRANGE', KEYS[3], 0, (#ARGV - 7) / 3 - 1)) do
  -- Another gateway may have taken the first of what this one saw.
  repeat seen = seen + 3 until seen > #ARGV or ARGV[seen] == item
  if seen > #ARGV then break end
  taken = taken + 1
  if ARGV[seen + 1] ~= '' then
    ids[#ids + 1], events[#events + 1] = ARGV[seen + 1], ARGV[seen + 2] == '' and item or ARGV[seen + 2]
  end
end
if taken == 0 then return {redis.call('LLEN', KEYS[3]), 0, {}} end
-- First, since nothing of a script that fails is taken back.
if #ids > 0 then
  append(KEYS[1], KEYS[2], ids, events, {tonumber(ARGV[1]), tonumber(ARGV[2])}, ARGV[3], ARGV[4])
end
redis.call('LPOP', KEYS[3], taken)
local waiting = redis.call('LLEN', KEYS[3])
local surplus = math.max(waiting - tonumber(ARGV[7]), 0)
if surplus > 0 then redis.call('LTRIM', KEYS[3], surplus, -1) end
local following, bytes = {}, 0
for at = 0, tonumber(ARGV[5]) - 1 do
  local item = redis.call('LINDEX', KEYS[3], at)
  if not item then break end
  bytes = bytes + #item
  if at > 0 and bytes > tonumber(ARGV[6]) then break end
  following[at + 1] = item
end
return {waiting - surplus, surplus, following}
