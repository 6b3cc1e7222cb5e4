-- Puts messages into the intake, all or none, and keeps a record under each key.
-- KEYS: for how many days keys are kept (a number)
-- ARGV: now (seconds), the days without that number; 1 to put the messages or 0 only to check their keys; then for each
--       message its lane, its id and its JSON, and of its key the bucket (none: ''), the name in the bucket, and the
--       record (worker/domain/key.py)
-- Returns for each message the record that its key had before, '' for none. If one is of another message, it puts none.
local today = math.floor(tonumber(redis.call('TIME')[1]) / 86400)
local days = tonumber(redis.call('GET', KEYS[1]) or ARGV[2])

-- A kept record begins with the day of the key's first use, by the clock of Redis.
local function is_over(kept)
  return today - struct.unpack('>H', kept) > days
end

local before, now, differs = {}, {}, false
for i = 4, #ARGV, 6 do
  local bucket, name, use = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local first = ''
  if bucket ~= '' then
    local kept = redis.call('HGET', bucket, name)
    if kept and not is_over(kept) then
      first = string.sub(kept, 3)
    elseif now[bucket .. name] then
      first = now[bucket .. name]
    else
      now[bucket .. name] = use
    end
    differs = differs or first ~= '' and string.sub(first, 1, 8) ~= string.sub(use, 1, 8)
  end
  before[#before + 1] = first
end
if differs or ARGV[3] ~= '1' then
  return before
end

for i = 4, #ARGV, 6 do
  if before[(i - 4) / 6 + 1] == '' then
    local items, id, bucket = 'sms:intake:' .. ARGV[i], ARGV[i + 1], ARGV[i + 3]
    redis.call('HSETNX', items, id, ARGV[i + 2])
    redis.call('ZADD', items .. ':waiting', 'NX', ARGV[1], id)
    if bucket ~= '' then
      redis.call('HSET', bucket, ARGV[i + 4], struct.pack('>H', today) .. ARGV[i + 5])
      redis.call('EXPIRE', bucket, (days + 2) * 86400)
      -- Now and then the records that are over are removed from a bucket.
      if redis.call('HLEN', bucket) % 64 == 0 then
        local all = redis.call('HGETALL', bucket)
        for j = 1, #all, 2 do
          if is_over(all[j + 1]) then
            redis.call('HDEL', bucket, all[j])
          end
        end
      end
    end
  end
end
return before
