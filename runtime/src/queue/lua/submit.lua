-- Puts requests into the queue.
--
-- KEYS[1]  the queue's base
-- ARGV     six for each request: id, uri, priority, delay_ms, input options as JSON, content digest
-- Returns  for each request `created`, `conflict`, or the state of the same request that was there already

local reason = obstacle('ready', 'delayed', 'leased', 'done', 'dead', 'cancelled', 'sequence')
if reason then
  return reason
end
local now = now_ms()
local answers = {}
for first = 1, #ARGV, 6 do
  answers[#answers + 1] = create(request_at(first), now)
end
return answers
