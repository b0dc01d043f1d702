-- Removes a dead request for good.
--
-- KEYS[1]  the queue's base
-- ARGV[1]  id
-- Returns  1; 0 if the request is not dead

local fault = broken('ZCARD', 'dead')
  or denied('DEL')
if fault then
  return fault
end
if redis.call('ZREM', key('dead'), ARGV[1]) == 0 then
  return 0
end
redis.call('DEL', request_key(ARGV[1]))
return 1
