-- Lists the requests in a state whose time is at or after a given time.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the state, the time, the maximum number of requests
-- Returns  for each request: its id, time and attempts, and whether it has to be ended (1 or 0)

local state = ARGV[1]
local fault = broken('ZCARD', state)
if fault then
  return fault
end
local found = redis.call('ZRANGEBYSCORE', key(state), ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local answers = {}
for index = 1, #found, 2 do
  local hash = redis.pcall('HMGET', request_key(found[index]), 'attempts', 'cancel', 'ending')
  answers[#answers + 1] = {
    found[index], string.format('%.0f', tonumber(found[index + 1])), count_of(hash[1] or 0), (hash[2] or hash[3]) and 1 or 0,
  }
end
return answers
