-- Withdraws a request, or asks the worker that has it to stop. Only a worker can see
-- the output of a lost attempt, so the next worker that claims such a request ends it.
--
-- KEYS[1]  the queue's base
-- ARGV[1]  id
-- Returns  the state that the request was in; `ending` if a worker has to end it; `unknown` if there is no such request

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
