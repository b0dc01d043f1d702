-- Lists the requests of a group, in the order in which they were submitted. Passes over those that a program of an older
-- version has removed without taking them out of the list.
--
-- KEYS[1]  the queue's base
-- ARGV     the group, the position after which the list begins, the maximum number of requests
-- Returns  the position after which the next requests follow (nil if there are no more), and a list of JSON texts as in
--          status.lua

local group, after, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local fault = broken('ZCARD', 'group:' .. group, unpack(STATES))
if fault then
  return fault
end
local found = redis.call('ZRANGEBYSCORE', key('group:' .. group), '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local answers = {}
for index = 1, #found, 2 do
  local id = found[index]
  local state, hash = state_of(id), redis.pcall('HMGET', request_key(id), 'uri', 'group')
  -- A request whose hash is lost stays in the list.
  if state and (hash.err or not hash[1] or hash[2] == group) then
    answers[#answers + 1] = describe(id, state)
  end
end
return { #found == 2 * limit and tonumber(found[#found]) or false, answers }
