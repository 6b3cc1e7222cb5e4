#!lua flags=allow-oom
-- Puts in what came by another way and cannot be sent. Runs in a full Redis too: it was just taken out of it.
-- KEYS: the items (a hash), what of them waits (a sorted set)
-- ARGV: its id, the item, now
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
