-- Withholds claims, or grants them again.
--
-- KEYS[1]  the queue's base
-- ARGV[1]  1 to withhold claims, 0 to grant them
-- Returns  1

begin_in_any_case()
if ARGV[1] == '1' then
  redis.call('SET', key('paused'), '1')
else
  redis.call('DEL', key('paused'))
  wake(redis.call('ZCARD', key('ready')))
end
return 1
