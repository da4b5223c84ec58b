-- Begins to report everything anew: clears what a gateway has reported.
-- KEYS: states (hash), deadlines (sorted set), the gateway's list of rooms (set)
-- ARGV: the gateway, its state from now on, life in ms, how names of its members' keys begin, how many rooms to clear
-- Returns 1 if nothing is left.
local rooms = redis.call('SPOP', KEYS[3], ARGV[5])
for _, room in ipairs(rooms) do redis.call('DEL', ARGV[4] .. room) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local time = redis.call('TIME')
local deadline = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3])
redis.call('ZADD', KEYS[2], string.format('%.0f', deadline), ARGV[1])
return #rooms < tonumber(ARGV[5]) and 1 or 0
