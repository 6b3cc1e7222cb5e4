#!lua flags=allow-oom
-- Removes pushes that the ledger has, and frees their room. Runs in a full Redis too.
-- KEYS: the items (a hash), the ids that wait and those that were taken (sorted sets), the bytes that all of them take
--       up, the time since which items were taken in vain
-- ARGV: the bytes of each beside its own; then their ids
local freed = 0
local overhead = tonumber(table.remove(ARGV, 1))
for _, id in ipairs(ARGV) do
  freed = freed + redis.call('HSTRLEN', KEYS[1], id)
  freed = freed + redis.call('HDEL', KEYS[1], id) * overhead
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
redis.call('DEL', KEYS[5])
-- Pushes of a version before this one were not counted.
if redis.call('HLEN', KEYS[1]) == 0 or redis.call('DECRBY', KEYS[4], freed) < 0 then
  redis.call('DEL', KEYS[4])
end
