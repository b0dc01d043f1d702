-- Puts requests into the queue.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     eight for each request: id, uri, priority, delay_ms, input options as JSON, content digest, the content
--          digest that the first versions of this program gave the request (empty if it is the same), and the group
--          (empty if the request has none)
-- Returns  for each request: `created`; the state of the same request, if the queue already has it; or `conflict`, if
--          the queue has another request with this id

local fault = broken('ZCARD', unpack(STATES))
  or broken('LLEN', 'wake')
  or broken('GET', 'sequence')
  or broken_group(8, 8)
  or denied('DEL', 'HSET', 'ZADD')
if fault then
  return fault
end
local now = now_ms()
local answers = {}
for first = 1, #ARGV, 8 do
  answers[#answers + 1] = create(request_at(first), now)
end
return answers
