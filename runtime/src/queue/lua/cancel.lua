-- Withdraws a request, or asks the worker that has it to stop.
--
-- KEYS[1]  the queue's base
-- ARGV[1]  id
-- Returns  the state that the request was in; `unknown` if there is no such request

local fault = broken('ZCARD', unpack(STATES))
  or broken('HLEN', 'nonces')
  or denied('ZADD')
if fault then
  return fault
end
local id = ARGV[1]
begin_in_any_case()
local state = state_of(id)
if state == 'ready' or state == 'delayed' then
  redis.call('ZREM', key(state), id)
  redis.call('ZADD', key('cancelled'), now_ms(), id)
elseif state == 'leased' then
  redis.call('HSET', request_key(id), 'cancel', 1)
end
return state or 'unknown'
