-- Ends a claim as failed. With `retry`, a request that somebody has asked to cancel is not retried, but cancelled as in
-- release.lua. With `conclude`, the next claim ends the request; the error is the reason for that, unless the request
-- already has a reason.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV[1]  the id
-- ARGV[2]  the fence
-- ARGV[3]  the nonce
-- ARGV[4]  the error
-- ARGV[5]  what happens next: `retry`, `retry-contested`, `dead`, `cancelled` or `conclude`
-- ARGV[6]  the delay of the next claim in ms
-- ARGV[7]  the URI of the report that was kept (empty if none was kept)
-- ARGV[8]  the code of the error, a space and the error (empty if the error has no code)
-- Returns  1, also if this claim has failed before; 0 if the claim is no longer valid

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
