-- Pauses a queue, or resumes it. While a queue is paused, a claim takes only requests that have to be ended.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV[1]  1 to pause the queue, 0 to resume it
-- Returns  1

local fault = broken('ZCARD', 'ready')
  or broken('LLEN', 'wake')
  or broken('HLEN', 'nonces')
if fault then
  return fault
end
begin_in_any_case()
if ARGV[1] == '1' then
  redis.call('SET', key('paused'), '1')
else
  redis.call('DEL', key('paused'))
  wake(redis.call('ZCARD', key('ready')))
end
return 1
