-- Puts requests into the queue.
--
-- KEYS[1]  the queue's base
-- ARGV     eight for each request: id, uri, priority, delay_ms, input options as JSON, content digest, the content digest
--          that the first versions of this program gave it (empty if it is the same), and the group (empty if it has none)
-- Returns  for each request: `created`, `conflict`, or the state of the same request if that existed already

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
