-- Lists the requests in a state. Of ready, delayed and leased requests, the next one comes first. Of ended requests,
-- the one that ended last comes first.
--
-- KEYS[1]  the queue's base
-- ARGV     the state, the index of the last request to return
-- Returns  a list of JSON texts as in status.lua

local state, last = ARGV[1], ARGV[2]
local waits = state == 'ready' or state == 'delayed' or state == 'leased'
local answers = {}
for _, id in ipairs(redis.call(waits and 'ZRANGE' or 'ZREVRANGE', key(state), 0, last)) do
  answers[#answers + 1] = describe(id, state)
end
return answers
