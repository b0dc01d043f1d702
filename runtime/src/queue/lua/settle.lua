-- Ends a claim as done.
--
-- KEYS[1]  the queue's base
-- ARGV     id, fence, nonce, receipt
-- Returns  1, also when this claim was settled before; 0 if the claim does not stand

local id, fence, nonce, receipt = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local stands = standing(id, fence, nonce)
if stands ~= 'held' then
  return stands == 'settle' and 1 or 0
end
end_claim(id, 'settle')
redis.call('HSET', request_key(id), 'receipt', receipt)
redis.call('HDEL', request_key(id), 'error', 'cancel')
redis.call('ZADD', key('done'), now_ms(), id)
return 1
