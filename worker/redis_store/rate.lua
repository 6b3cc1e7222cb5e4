#!lua flags=allow-oom
-- Runs in a full Redis too: messages that are sent make room.
-- The two token buckets of one account, for calls and for mobiles. The script says how many of the wanted calls may be
-- made now, and when to ask again.
--
-- KEYS[1]  a hash: `at`, the time of its last write (microseconds), and the tokens in `calls` and `mobiles` then.
--          Without it both are full. `debt`: mobiles that calls took beyond what the bucket holds. `debtor`: the floor
--          of the lane that owes them
-- ARGV     the floor (a share, 0 to <1), calls a second, mobiles a second, then the mobiles of each call, in order
-- Returns  how many of the calls are granted, and the microseconds until it is worth asking for the rest (0: no rest)
--
-- Tokens are counted in millionths: a rate of n tokens a second is n of these each microsecond, and with a whole n no
-- sum is ever rounded. A number that redis.call is given keeps all its digits.

local TOKEN = 1000000

-- A bucket holds the tokens of a fifth of a second. A sliding second sees the rate and once a full bucket, so at most
-- 20 % more. A worker that sleeps until half of it is back may wake a tenth of a second late before a token is lost.
local BURST = 200000
-- At a low rate a fifth of a second is less than one token, and a bucket of one loses the tokens that come while it is
-- full.
local LEAST_BURST = 2 * TOKEN

local LEAST_WAIT = 1000

-- Each grant costs the worker one transaction. Where a rate is used up, the tokens of less than a fiftieth of a second
-- are not worth one, unless they make up the batch that is worth waiting for.
local WORTHWHILE = 20000

local floor = tonumber(ARGV[1])
local first = 4

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'at', 'calls', 'mobiles', 'debt', 'debtor')
-- After a failover the clock may be behind. That takes no tokens away, and from now on this clock counts.
local passed = math.max(0, now - (tonumber(kept[1]) or now))

local function bucket(rate, tokens)
  local capacity = math.max(rate * BURST, LEAST_BURST)
  return {
    rate = rate,
    capacity = capacity,
    floor = floor * capacity,
    tokens = math.min((tonumber(tokens) or capacity) + passed * rate, capacity),
  }
end

local calls = bucket(tonumber(ARGV[2]), kept[2])
local mobiles = bucket(tonumber(ARGV[3]), kept[3])

-- A debt is paid with the tokens that a full bucket has no room for. The debtor and less urgent lanes must leave the
-- debt in the bucket. More urgent lanes may take all of it, so they never wait for a debt of a less urgent one.
local debt = tonumber(kept[4]) or 0
local debtor = tonumber(kept[5]) or 1
if debt > 0 then
  local came = (tonumber(kept[3]) or mobiles.capacity) + passed * mobiles.rate
  debt = math.max(0, debt - math.max(0, came - mobiles.capacity))
end

local function owed(of)
  return of == mobiles and floor >= debtor and debt or 0
end

-- The tokens that a bucket must have before so many are taken. A full bucket gives more than it holds, for a debt.
local function needed(of, tokens)
  return math.min(of.floor + tokens, of.capacity) + owed(of)
end

local function size(i)
  return ARGV[i] * TOKEN
end

-- The batch to wait for: the call i, and as many more as half of the bucket above the floor suffices for.
local function batch_from(i)
  local batch = { calls = TOKEN, mobiles = size(i) }
  local function fits(of, tokens)
    return tokens <= (of.capacity - of.floor) / 2
  end
  i = i + 1
  while i <= #ARGV and fits(calls, batch.calls + TOKEN) and fits(mobiles, batch.mobiles + size(i)) do
    batch.calls = batch.calls + TOKEN
    batch.mobiles = batch.mobiles + size(i)
    i = i + 1
  end
  return batch
end

local function microseconds_until(of, tokens)
  -- Rounded up, and one more where the quotient is whole: it may be a little too small.
  return math.floor((tokens - of.tokens) / of.rate) + 1
end

local function is_there(batch)
  return calls.tokens >= needed(calls, batch.calls) and mobiles.tokens >= needed(mobiles, batch.mobiles)
end

local i = first
local had = { calls = calls.tokens, mobiles = mobiles.tokens, debt = debt, debtor = debtor }
local is_worth_it = #ARGV < first or is_there(batch_from(first))
while i <= #ARGV and is_there({ calls = TOKEN, mobiles = size(i) }) do
  calls.tokens = calls.tokens - TOKEN
  mobiles.tokens = mobiles.tokens - size(i)
  if size(i) > mobiles.capacity then
    debt, debtor = debt + size(i) - (mobiles.capacity - mobiles.floor), math.min(floor, debtor)
    mobiles.tokens = mobiles.floor
  end
  i = i + 1
end

local wait = 0
if i <= #ARGV then
  local few = had.calls - calls.tokens < calls.rate * WORTHWHILE and had.mobiles - mobiles.tokens < mobiles.rate * WORTHWHILE
  if few and not is_worth_it then
    calls.tokens, mobiles.tokens, debt, debtor, i = had.calls, had.mobiles, had.debt, had.debtor, first
  end
  local batch = batch_from(i)
  wait = math.max(
    microseconds_until(calls, needed(calls, batch.calls)),
    microseconds_until(mobiles, needed(mobiles, batch.mobiles)),
    LEAST_WAIT
  )
end
local granted = i - first

redis.call('HSET', KEYS[1], 'at', now, 'calls', calls.tokens, 'mobiles', mobiles.tokens)
if debt > 0 then
  redis.call('HSET', KEYS[1], 'debt', debt, 'debtor', debtor)
else
  redis.call('HDEL', KEYS[1], 'debt', 'debtor')
end
local full = math.max(microseconds_until(calls, calls.capacity), microseconds_until(mobiles, mobiles.capacity + debt))
redis.call('PEXPIRE', KEYS[1], math.ceil(full / 1000))

return { granted, wait }
