#!lua flags=allow-oom
-- Parks items for the workers that have their account. Runs in a full Redis too.
-- KEYS: what was given out, what is parked for the account, the accounts that something is parked for (sorted sets)
-- ARGV: the account; then each item's id and the time when it ends
for i = 2, #ARGV, 2 do
  redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
end
redis.call('ZADD', KEYS[3], redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2], ARGV[1])
