#!lua flags=allow-oom
-- Parks items for the workers that serve their account. Runs in a full Redis too.
-- KEYS: the ids that were taken, the ids that are parked for the account, the accounts with parked items (sorted sets)
-- ARGV: the account; then each item's id and the time when its validity ends
for i = 2, #ARGV, 2 do
  redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
end
redis.call('ZADD', KEYS[3], redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2], ARGV[1])
