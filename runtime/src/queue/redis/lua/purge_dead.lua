-- Permanently removes dead requests.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     two for each request: its id, and the time of its death (empty if any time will do)
-- Returns  for each request: `done`, or `gone` if it is not dead or did not die at that time

local fault = broken('ZCARD', 'dead')
  or denied('DEL')
if fault then
  return fault
end
local answers = {}
for index = 1, #ARGV, 2 do
  local id = ARGV[index]
  if is_dead(id, ARGV[index + 1]) then
    redis.call('ZREM', key('dead'), id)
    leave_group(id)
    redis.call('DEL', request_key(id))
    answers[#answers + 1] = 'done'
  else
    answers[#answers + 1] = 'gone'
  end
end
return answers
