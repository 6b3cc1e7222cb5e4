#!lua flags=allow-oom
-- Lets the items of lost workers wait again. Runs in a full Redis too.
-- KEYS: the ids that wait and those that were taken (sorted sets), the time since which items were taken in vain,
--       the accounts with parked items (a sorted set)
-- ARGV: now; how many items at most; the time to note as that since which items were taken in vain
-- Returns how many items wait again by this, and how many wait now.
local lost = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #lost > 0 then
  redis.call('SET', KEYS[3], ARGV[3], 'NX')
end
for _, id in ipairs(lost) do
  redis.call('ZADD', KEYS[1], 'NX', ARGV[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return { #lost, redis.call('ZCARD', KEYS[1]) + redis.call('ZCARD', KEYS[4]) }
