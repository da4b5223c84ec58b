-- Publishes one broadcast: once, however often it is retried. Behind assign_offset.lua.
-- KEYS: meta, stream, seen (the mark of this id)
-- ARGV: id, event, most entries, most bytes, life of the mark in ms, an epoch in case there is none, channel
local seen = redis.call('GET', KEYS[3])
if seen then return {seen, 1} end
local limits = {tonumber(ARGV[3]), tonumber(ARGV[4])}
local place = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], limits, ARGV[6], ARGV[7])
redis.call('SET', KEYS[3], place, 'PX', ARGV[5])
return {place, 0}
