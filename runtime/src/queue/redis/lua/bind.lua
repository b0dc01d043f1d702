-- Puts a binding in force.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the binding as JSON; the number of the binding that must be in force (0 for none, empty if any number will
--          do)
-- Returns  1 and the number of the new binding; or, if it is not the expected binding that is in force, 0 and the
--          number of the binding in force

local fault = broken('ZCARD', 'ready')
  or broken('LLEN', 'wake')
  or broken('HLEN', 'bindings')
  or broken('GET', 'binding')
if fault then
  return fault
end
local current = tonumber(redis.call('GET', key('binding')) or 0)
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= current then
  return { 0, current }
end
local binding = cjson.decode(ARGV[1])
binding.number = current + 1
redis.call('HSET', key('bindings'), binding.number, cjson.encode(binding))
redis.call('SET', key('binding'), binding.number)
wake(redis.call('ZCARD', key('ready')))
return { 1, binding.number }
