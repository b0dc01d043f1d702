-- Checks requests one by one in their present state, so that a queue in use gives no false alarm.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the ids of requests, which may no longer exist
-- Returns  a sentence for each fault

local faults = {}
local counter = tonumber(redis.call('GET', key('fence')) or 0)

local function fault(id, text)
  faults[#faults + 1] = 'request ' .. id .. ' ' .. text
end

local function check_lease(id, hash)
  if not hash.fence or not hash.nonce then
    return fault(id, 'is leased but has no holder')
  end
  if hash.ended then
    fault(id, 'is leased but its claim has ended')
  end
  if tonumber(hash.fence) > counter then
    fault(id, 'has fence ' .. hash.fence .. ', which was never given')
  end
  if redis.call('HGET', key('nonces'), hash.nonce) ~= id then
    fault(id, 'is leased but its nonce is not in the index')
  end
end

local function check_members(id, state, score, hash)
  for _, name in ipairs({ 'uri', 'input', 'digest', 'rank' }) do
    if not hash[name] then
      fault(id, 'has no ' .. name)
    end
  end
  if hash.group and not redis.call('ZSCORE', key('group:' .. hash.group), id) then
    fault(id, 'is not in the list of its group')
  end
  if state == 'leased' then
    check_lease(id, hash)
  elseif state == 'ready' and hash.rank
    and tonumber((hash.cancel or hash.ending) and FIRST or hash.rank) ~= tonumber(score) then
    fault(id, 'is ready at a place that is not its own')
  elseif state == 'done' and not hash.receipt then
    fault(id, 'is done but has no receipt')
  elseif state == 'dead' and not hash.error then
    fault(id, 'is dead but has no reason')
  end
end

for _, id in ipairs(ARGV) do
  local states, score = {}, nil
  for _, state in ipairs(STATES) do
    local found = redis.call('ZSCORE', key(state), id)
    if found then
      states[#states + 1], score = state, found
    end
  end
  local flat, hash = redis.call('HGETALL', request_key(id)), {}
  for index = 1, #flat, 2 do
    hash[flat[index]] = flat[index + 1]
  end
  if #states > 1 then
    fault(id, 'is in several states: ' .. table.concat(states, ', '))
  elseif #states == 0 and #flat > 0 then
    fault(id, 'is in no state')
  elseif #states == 1 and #flat == 0 then
    fault(id, 'is ' .. states[1] .. ' but has no hash')
  elseif #states == 1 then
    check_members(id, states[1], score, hash)
  end
end
return faults
