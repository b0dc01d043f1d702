-- Removes requests that were done or cancelled long ago. In each state, the requests that ended first are removed
-- first.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the time for which an ended request is kept, in ms; the maximum number of requests to remove
-- Returns  the number of removed requests

local fault = broken('ZCARD', 'done', 'cancelled')
  or denied('DEL')
if fault then
  return fault
end
local until_ms, room = now_ms() - tonumber(ARGV[1]), tonumber(ARGV[2])
local removed = 0
for _, state in ipairs({ 'done', 'cancelled' }) do
  local ids = redis.call('ZRANGEBYSCORE', key(state), '-inf', until_ms, 'LIMIT', 0, room - removed)
  for _, id in ipairs(ids) do
    redis.call('ZREM', key(state), id)
    leave_group(id)
    redis.call('DEL', request_key(id))
  end
  removed = removed + #ids
end
return removed
