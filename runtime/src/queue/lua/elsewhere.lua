-- Counts the requests that wait for a worker with the output of a lost attempt.
--
-- KEYS[1]  the queue's base
-- ARGV     the worker's output (an id and a URI), how many ready requests are looked at
-- Returns  for each other output: the output, how many requests wait for it

local own, last = string.match(ARGV[1], '^%S+'), tonumber(ARGV[2]) - 1
local counts, outputs = {}, {}
for _, id in ipairs(redis.call('ZRANGE', key('ready'), 0, last)) do
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
return answers
