-- Returns requests.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the ids
-- Returns  for each id: JSON: id, state, uri, attempts, lost, cancel, ending, output, note, error, coded, report, due_ms,
--          lease_ends_ms, group; and as texts the receipt, the progress and the input options. Returns nil for an id if
--          there is no such request

local fault = broken('ZCARD', unpack(STATES))
if fault then
  return fault
end
local answers = {}
for index, id in ipairs(ARGV) do
  local state = state_of(id)
  answers[index] = state and describe(id, state) or false
end
return answers
