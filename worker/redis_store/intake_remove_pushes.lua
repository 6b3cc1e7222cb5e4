#!lua flags=allow-oom
-- Takes out pushes that the ledger has, and gives back their room. Runs in a full Redis too.
-- KEYS: the items (a hash), what waits and what was given out (sorted sets), how many bytes they have, since when nothing was taken out
-- ARGV: how many bytes each takes beside its own; then their ids
local freed = 0
local overhead = tonumber(table.remove(ARGV, 1))
for _, id in ipairs(ARGV) do
  freed = freed + redis.call('HSTRLEN', KEYS[1], id)
  freed = freed + redis.call('HDEL', KEYS[1], id) * overhead
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
redis.call('DEL', KEYS[5])
-- What a version before this one put in was not counted.
if redis.call('HLEN', KEYS[1]) == 0 or redis.call('DECRBY', KEYS[4], freed) < 0 then
  redis.call('DEL', KEYS[4])
end
