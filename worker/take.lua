#!lua flags=allow-oom
-- What it gives out will make room: so also where Redis is full.
-- Gives out the oldest of what waits in a place of the intake.
-- KEYS: the items (a hash), what of them waits and what was given out (sorted sets)
-- ARGV: until when it is given out (seconds), how many items and how many bytes at most
-- Returns ids and texts in turn.
local found, bytes = {}, 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, tonumber(ARGV[2]) - 1)) do
  redis.call('ZREM', KEYS[2], id)
  local text = redis.call('HGET', KEYS[1], id)
  if text then
    redis.call('ZADD', KEYS[3], ARGV[1], id)
    found[#found + 1] = id
    found[#found + 1] = text
    bytes = bytes + #text
    if bytes >= tonumber(ARGV[3]) then
      break
    end
  end
end
return found
