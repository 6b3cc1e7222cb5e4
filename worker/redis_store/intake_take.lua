#!lua flags=allow-oom
-- What it gives out will make room: so also where Redis is full.
-- Gives out the oldest of what waits in a place of the intake; before it, what was parked there and may be read again: by a worker
-- that has its account, or by any worker once it is no longer valid.
-- KEYS: the items (a hash), what of them waits and what was given out (sorted sets), the accounts
-- something is parked for (a sorted set, by when the first of it ends)
-- ARGV: until when it is given out (seconds), how many items and how many bytes at most, now, the accounts of the worker
-- Returns ids and texts in turn.
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
