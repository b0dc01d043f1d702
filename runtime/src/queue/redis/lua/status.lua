-- Returns one request.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV[1]  the id
-- Returns  JSON: id, state, uri, attempts, lost, cancel, ending, output, note, error, coded, report, due_ms,
--          lease_ends_ms; and as texts the receipt, the progress and the input options. Returns nil if there is no such
--          request

local fault = broken('ZCARD', unpack(STATES))
if fault then
  return fault
end
local state = state_of(ARGV[1])
return state and describe(ARGV[1], state)
