#!lua flags=allow-oom
-- Gives a worker the oldest items that wait in a place of the intake. Before these come the parked items that it may
-- take: those of its accounts, and those whose validity is over.
-- Runs in a full Redis too: the items that it gives out will make room.
-- KEYS: the items (a hash), the ids that wait and those that were taken (sorted sets), the accounts with parked items
--       (a sorted set, by the time when the first of them ends)
-- ARGV: until when the worker has them (seconds), how many items and how many bytes at most, now, the worker's accounts
-- Returns ids and items in turn.
local most, found, bytes = 2 * ARGV[2], {}, 0

local function give(order, ids)
  for _, id in ipairs(ids) do
    if #found >= most or bytes >= tonumber(ARGV[3]) then
      return
    end
    redis.call('ZREM', order, id)
    local text = redis.call('HGET', KEYS[1], id)
    if text then
      redis.call('ZADD', KEYS[3], ARGV[1], id)
      found[#found + 1] = id
      found[#found + 1] = text
      bytes = bytes + #text
    end
  end
end

if redis.call('EXISTS', KEYS[4]) == 1 then
  local function give_parked(account, to)
    local parked = KEYS[4] .. ':' .. account
    give(parked, redis.call('ZRANGEBYSCORE', parked, '-inf', to, 'LIMIT', 0, ARGV[2]))
    local next = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')
    if next[1] then
      redis.call('ZADD', KEYS[4], 'XX', next[2], account)
    else
      redis.call('ZREM', KEYS[4], account)
    end
  end
  for i = 5, #ARGV do
    give_parked(ARGV[i], '+inf')
  end
  for _, account in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[4], 'LIMIT', 0, ARGV[2])) do
    give_parked(account, ARGV[4])
  end
end
give(KEYS[2], redis.call('ZRANGE', KEYS[2], 0, ARGV[2] - 1))
return found
