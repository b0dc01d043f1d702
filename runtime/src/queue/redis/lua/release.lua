-- Hands a claim back as if it had not been made. If somebody has asked to cancel the request, it becomes cancelled
-- instead; if an earlier claim of the request was lost, the next claim ends it as cancelled.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the id, the fence, the nonce
-- Returns  1, also if this claim was released before; 0 if the claim is no longer valid

local fault = broken('ZCARD', 'leased', 'ready', 'cancelled')
  or broken('LLEN', 'wake')
  or broken('HLEN', 'nonces')
  or denied('HGET', 'HSET', 'HDEL', 'ZADD')
if fault then
  return fault
end
local id, fence, nonce = ARGV[1], ARGV[2], ARGV[3]
local stands = standing(id, fence, nonce)
if stands ~= 'held' then
  return stands == 'release' and 1 or 0
end
end_claim(id, 'release')
uncount_attempt(id)
put_back_or_cancel(id, now_ms(), 0)
return 1
