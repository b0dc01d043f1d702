-- Ends a claim as done.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the id, the fence, the nonce, the receipt
-- Returns  1, also if this claim was settled before; 0 if the claim is no longer valid

local fault = broken('ZCARD', 'leased', 'done')
  or broken('HLEN', 'nonces')
  or denied('HSET', 'HDEL', 'ZADD')
if fault then
  return fault
end
local id, fence, nonce, receipt = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local hash = request_key(id)
local last = redis.call('HMGET', hash, 'fence', 'nonce', 'ended', 'cancel', 'ending', 'error', 'concluding', 'stray')
if last[1] ~= fence or last[2] ~= nonce then
  return 0
end
if redis.call('ZREM', key('leased'), id) == 0 then
  return last[3] == 'settle' and 1 or 0
end
redis.call('HDEL', key('nonces'), nonce)
redis.call('HSET', hash, 'ended', 'settle', 'receipt', receipt)
if last[4] or last[5] then
  redis.call('HSET', hash, 'note', last[4] and 'the cancel came too late: its output was committed'
    or 'it was to be given up (' .. last[5] .. '), but its output was committed')
end
-- Each command costs time, and most requests have none of these fields. The field `output` can stay, because it matters
-- only while a request is ready.
if last[4] or last[5] or last[6] or last[7] or last[8] then
  redis.call('HDEL', hash, 'error', 'coded', 'cancel', 'ending', 'concluding', 'stray')
end
redis.call('ZADD', key('done'), now_ms(), id)
return 1
