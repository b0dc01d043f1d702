-- Counts the ready requests that wait for a worker with the output of a lost attempt, if this worker has another
-- output.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the worker's output (an id and a URI), the number of ready requests to skip, the number of ready requests to
--          examine
-- Returns  the number of examined requests; for each other output: the output, and the number of requests that wait for
--          it

local own, from, count = string.match(ARGV[1], '^%S+'), tonumber(ARGV[2]), tonumber(ARGV[3])
local counts, outputs = {}, {}
local ids = redis.call('ZRANGE', key('ready'), from, from + count - 1)
for _, id in ipairs(ids) do
  local output = redis.pcall('HGET', request_key(id), 'output')
  if type(output) == 'string' and string.match(output, '^%S+') ~= own then
    if not counts[output] then
      outputs[#outputs + 1] = output
    end
    counts[output] = (counts[output] or 0) + 1
  end
end
local answers = {}
for _, output in ipairs(outputs) do
  answers[#answers + 1] = { output, counts[output] }
end
return { #ids, answers }
