#!lua flags=allow-oom
-- Gives back what was given to a worker that was lost with it: it waits again.
-- KEYS: what waits and what was given out (sorted sets), since when nothing was taken out, the accounts that something is parked for
-- ARGV: now; how many at most; since when what was given out counts as lost
-- Returns how many were given back, and how much waits now.
local lost = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #lost > 0 then
  redis.call('SET', KEYS[3], ARGV[3], 'NX')
end
for _, id in ipairs(lost) do
  redis.call('ZADD', KEYS[1], 'NX', ARGV[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return { #lost, redis.call('ZCARD', KEYS[1]) + redis.call('ZCARD', KEYS[4]) }
