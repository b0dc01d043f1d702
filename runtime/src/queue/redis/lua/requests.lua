-- Lists the requests in a state. A list of ready, delayed or leased requests begins with the request that is claimed
-- first, is due first, or whose lease ends first. A list of ended requests begins with the request that ended last.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the state, the index of the last request to return
-- Returns  a list of JSON texts as in status.lua

local state, last = ARGV[1], ARGV[2]
local waits = state == 'ready' or state == 'delayed' or state == 'leased'
local answers = {}
for _, id in ipairs(redis.call(waits and 'ZRANGE' or 'ZREVRANGE', key(state), 0, last)) do
  answers[#answers + 1] = describe(id, state)
end
return answers
