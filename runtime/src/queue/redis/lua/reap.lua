-- Removes requests that were done or cancelled long ago: in each state, those that ended first.
--
-- KEYS[1]  the queue's base
-- ARGV     for how long an ended request is kept, in ms; how many are removed at most
-- Returns  how many were removed

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
    redis.call('DEL', request_key(id))
  end
  removed = removed + #ids
end
return removed
