-- Puts in a push, unless the room of pushes is used up.
-- KEYS: the items (a hash), the ids that wait (a sorted set), the bytes that all of them take up
-- ARGV: the push's id, the item, now, the bytes that pushes may take up, the bytes of each beside its own
-- Returns 1 if the push was put in, else 0.
local used = tonumber(redis.call('GET', KEYS[3]) or '0')
if used > 0 and redis.call('HLEN', KEYS[1]) == 0 then
  used = 0
  redis.call('SET', KEYS[3], 0)
end
local cost = #ARGV[2] + tonumber(ARGV[5])
if used + cost > tonumber(ARGV[4]) then
  return 0
end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('INCRBY', KEYS[3], cost)
end
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
return 1
