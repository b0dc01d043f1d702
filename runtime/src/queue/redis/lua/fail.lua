-- Ends a claim as failed. A retry of a request that somebody asked to cancel is a cancel. With `conclude` the
-- next claim ends the request, for the given reason unless it has one already.
--
-- KEYS[1]  the queue's base
-- ARGV     id, fence, nonce, why, what next (`retry`, `retry-contested`, `dead`, `cancelled` or `conclude`), delay of the next
--          claim in ms, the URI of the report that was kept (empty if none was), the code of `why`, a space and `why` (empty if it
--          has no code)
-- Returns  1, also when this claim failed before; 0 if the claim is not valid any more

local fault = broken('ZCARD', 'leased', 'ready', 'delayed', 'dead', 'cancelled')
  or broken('LLEN', 'wake')
  or broken('HLEN', 'nonces')
  or denied('HGET', 'HSET', 'HSETNX', 'HDEL', 'ZADD')
if fault then
  return fault
end
local id, fence, nonce, why, next, delay_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local stands = standing(id, fence, nonce)
if stands ~= 'held' then
  return stands == 'fail' and 1 or 0
end
local now = now_ms()
end_claim(id, 'fail')
redis.call('HSET', request_key(id), 'error', why)
if ARGV[8] ~= '' then
  redis.call('HSET', request_key(id), 'coded', ARGV[8])
end
if ARGV[7] ~= '' then
  redis.call('HSET', request_key(id), 'report', ARGV[7])
end
if next == 'retry' or next == 'retry-contested' then
  local waited_ms = count_of(redis.call('HGET', request_key(id), 'waited_ms')) + delay_ms
  redis.call('HSET', request_key(id), 'waited_ms', string.format('%.0f', waited_ms))
  if next == 'retry-contested' then
    redis.call('HSET', request_key(id), 'stray', 1)
  end
  put_back_or_cancel(id, now, delay_ms)
elseif next == 'conclude' then
  redis.call('HSETNX', request_key(id), 'ending', why)
  redis.call('HSET', request_key(id), 'stray', 1)
  redis.call('ZADD', key('delayed'), now + delay_ms, id)
else
  forget_marks(id)
  redis.call('ZADD', key(next), now, id)
end
return 1
