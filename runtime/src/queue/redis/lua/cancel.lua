-- Withdraws a request, or asks the worker that has the request to stop. If a claim of the request was lost, the next
-- worker that claims the request ends it, because only a worker can see the output of a lost attempt.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV[1]  the id
-- Returns  the state in which the request was; `ending` if the next claim has to end it; `unknown` if there is no such
--          request

local fault = broken('ZCARD', unpack(STATES))
  or broken('HLEN', 'nonces')
  or broken('LLEN', 'wake')
  or denied('HSET', 'HDEL', 'ZADD')
if fault then
  return fault
end
local id = ARGV[1]
begin_in_any_case()
local state = state_of(id)
if state == 'ready' or state == 'delayed' then
  redis.call('ZREM', key(state), id)
  if redis.call('HEXISTS', request_key(id), 'stray') == 1 then
    redis.call('HSET', request_key(id), 'cancel', 1)
    make_ready(id)
    return 'ending'
  end
  forget_marks(id)
  redis.call('ZADD', key('cancelled'), now_ms(), id)
elseif state == 'leased' then
  redis.call('HSET', request_key(id), 'cancel', 1)
end
return state or 'unknown'
