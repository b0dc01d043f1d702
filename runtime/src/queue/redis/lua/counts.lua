-- Counts the requests and documents of a queue.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- Returns  JSON: the number of requests in each state, and `intake`, `invalid`, `paused` and `binding`

local fault = broken('ZCARD', unpack(STATES))
  or broken('LLEN', 'in', 'invalid')
if fault then
  return fault
end
local counts = {
  intake = redis.call('LLEN', key('in')),
  invalid = redis.call('LLEN', key('invalid')),
  paused = redis.call('EXISTS', key('paused')) == 1,
  binding = tonumber(redis.call('GET', key('binding')) or nil) or cjson.null,
}
for _, state in ipairs(STATES) do
  counts[state] = redis.call('ZCARD', key(state))
end
return cjson.encode(counts)
