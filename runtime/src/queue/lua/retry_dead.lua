-- Puts a dead request back to ready, as if it were new.
--
-- KEYS[1]  the queue's base
-- ARGV[1]  id
-- Returns  1; 0 if the request is not dead

local fault = broken('ZCARD', 'dead', 'ready')
  or broken('LLEN', 'wake')
  or denied('HGET', 'HSET', 'HDEL', 'ZADD')
if fault then
  return fault
end
local id = ARGV[1]
local hash = request_key(id)
-- A dead letter for a lost hash has nothing to retry.
if not redis.call('ZSCORE', key('dead'), id) or redis.call('HEXISTS', hash, 'rank') == 0 then
  return 0
end
redis.call('ZREM', key('dead'), id)
-- A new life: what is left of attempts from before cannot commit it any more.
local before = redis.call('HMGET', hash, 'life_ms', 'submitted_ms')
local life_ms = math.max(now_ms(), (tonumber(before[1] or before[2] or nil) or 0) + 1)
redis.call('HSET', hash, 'attempts', 0, 'lost', 0, 'life_ms', string.format('%.0f', life_ms))
redis.call('HDEL', hash, 'error')
forget_marks(id)
make_ready(id)
return 1
