-- Takes the first item of the ingress list and publishes it, in one step: a crash neither loses nor doubles it.
-- Behind assign_offset.lua. Does nothing when another gateway was faster.
-- KEYS: meta, stream, ingress
-- ARGV: id, the item as it was seen, most entries, most bytes, "1" to publish or "0" to drop it, an epoch, channel
if redis.call('LINDEX', KEYS[3], 0) ~= ARGV[2] then return 0 end
redis.call('LPOP', KEYS[3])
if ARGV[5] == '1' then
  append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], {tonumber(ARGV[3]), tonumber(ARGV[4])}, ARGV[6], ARGV[7])
end
return 1
