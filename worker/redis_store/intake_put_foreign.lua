#!lua flags=allow-oom
-- Puts in a payload that no client wrote and that cannot be sent. A full Redis runs this too: it was just taken out.
-- KEYS: the items (a hash), the ids that wait (a sorted set)
-- ARGV: the item's id, the item, now
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', ARGV[3], ARGV[1])
