-- Makes due and lost requests ready, and then takes the next requests.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV[1]  the worker
-- ARGV[2]  the lease in ms
-- ARGV[3]  the number of lost leases after which a request is poison
-- ARGV[4]  whether the claim needs a binding (1 or 0)
-- ARGV[5]  the maximum number of delayed requests, and of lost requests, that become ready
-- ARGV[6]  the maximum number of ready requests to examine
-- ARGV[7]  the number of ready requests to skip before the first examined one
-- ARGV[8]  the worker's output (an id and a URI)
-- ARGV[9]  whether the worker also takes requests of other outputs (1 or 0)
-- ARGV     from 10 on: a nonce for each wanted request
-- Returns  a list of five:
--          1. whether the queue is open: not paused, and with a binding if the claim needs one (1 or 0)
--          2. the length of the intake list
--          3. for each claim: id, uri, priority, submitted_ms, input, fence, nonce, attempts, lost, binding, life_ms,
--             stray, cancel, ending, waited_ms, coded, group, and the output of the previous claim. A field that the hash
--             does not have is nil
--          4. the last fence that was given before this claim
--          5. the number of ready requests that were skipped or examined, if there may be more to examine; otherwise 0
--          6. the ids of the requests that this claim moved to the dead letters, because their hashes were gone

local fault = broken('ZCARD', 'ready', 'delayed', 'leased', 'dead', 'cancelled')
  or broken('LLEN', 'wake', 'in')
  or broken('HLEN', 'nonces')
  or broken('GET', 'fence')
  or denied('HGET', 'HSET', 'HDEL', 'HINCRBY', 'INCRBY', 'ZADD')
if fault then
  return fault
end
local worker, lease_ms, lost_max = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local needs_binding, moved_max = ARGV[4] == '1', tonumber(ARGV[5])
local look_max, from, output, takes_all = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1'
local output_id = string.match(output, '^%S+')
local nonces = { unpack(ARGV, 10) }
local now, fence_before = now_ms(), tonumber(redis.call('GET', key('fence')) or 0)
local without_hash = {}

local function reply(open, claims, looked)
  return { open and 1 or 0, redis.call('LLEN', key('in')), claims, fence_before, looked or 0, without_hash }
end

-- The fields of a request that are returned, in this order.
local ANSWERED = {
  'uri', 'priority', 'submitted_ms', 'input', 'fence', 'nonce', 'attempts', 'lost', 'binding', 'life_ms', 'stray', 'cancel',
  'ending', 'waited_ms', 'coded', 'group',
}

local function claim_of(id, fields, output_before)
  local claim = { id, unpack(fields, 1, #ANSWERED) }
  claim[#ANSWERED + 2] = output_before or false
  return claim
end

local function forward_due()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', now, 'LIMIT', 0, moved_max)) do
    redis.call('ZREM', key('delayed'), id)
    make_ready(id)
  end
end

-- Returns whether the hash exists. If the server cannot answer, the script ends before it changes anything of this
-- request.
local function has_hash(id)
  local found = redis.pcall('HEXISTS', request_key(id), 'uri')
  if type(found) == 'table' and not string.find(found.err, 'WRONGTYPE', 1, true) then
    error(found.err)
  end
  return found == 1
end

-- Moves a request whose hash is gone (evicted, or deleted by hand) to the dead letters, where people see it.
local function move_to_dead(id)
  local claims = redis.call('HGETALL', key('nonces'))
  for index = 1, #claims, 2 do
    if claims[index + 1] == id then
      redis.call('HDEL', key('nonces'), claims[index])
    end
  end
  redis.call('ZREM', key('leased'), id)
  redis.call('DEL', request_key(id))
  local why = 'the server lost the hash of this request'
  redis.call('HSET', request_key(id), 'error', why, 'coded', 'request-lost ' .. why)
  redis.call('ZADD', key('dead'), now, id)
  without_hash[#without_hash + 1] = id
end

local function lose_lease(id)
  local hash = request_key(id)
  local last = redis.call('HMGET', hash, 'concluding', 'cancel', 'worker')
  end_claim(id, 'lost')
  redis.call('HSET', hash, 'stray', 1)
  if not last[1] then
    uncount_attempt(id)
    local lost = redis.call('HINCRBY', hash, 'lost', 1)
    if lost >= lost_max and not last[2] then
      local why = string.format('poison: %d leases were lost, the last by worker %s', lost, last[3] or '?')
      redis.call('HSET', hash, 'ending', why, 'coded', 'poison ' .. why)
    end
  end
  make_ready(id)
end

local function recover_lost()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leased'), '-inf', now, 'LIMIT', 0, moved_max)) do
    if not has_hash(id) then
      move_to_dead(id)
    else
      lose_lease(id)
    end
  end
end

-- Returns the first ready requests that this worker may claim. A suspect, which becomes poison with one more lost
-- lease, is returned alone. If the queue is not open, returns only requests that have to be ended. Also returns the
-- number of ready requests that the next step has to skip.
local function take_ready(open)
  local found, gone, looked = {}, {}, from
  local names = { unpack(ANSWERED) }
  local ENDED, PROGRESS, OUTPUT = #names + 1, #names + 2, #names + 3
  names[ENDED], names[PROGRESS], names[OUTPUT] = 'ended', 'progress', 'output'
  local is_full = false
  while not is_full and #found < #nonces and looked < from + look_max do
    -- If the first requests are not for this worker, the next look takes more requests at once.
    local count = math.max(#nonces - #found, looked > 0 and 100 or 0)
    local ids = open and redis.call('ZRANGE', key('ready'), looked, looked + count - 1)
      or redis.call('ZRANGEBYSCORE', key('ready'), FIRST, FIRST, 'LIMIT', looked, count)
    if #ids == 0 then
      break
    end
    looked = looked + #ids
    for _, id in ipairs(ids) do
      if #found == #nonces then
        break
      end
      local fields = redis.pcall('HMGET', request_key(id), unpack(names))
      local output_before = fields[OUTPUT]
      if fields.err or not fields[1] then
        gone[#gone + 1] = id
      elseif takes_all or not output_before or string.match(output_before, '^%S+') == output_id then
        local lost, is_ending = count_of(fields[8]), fields[12] or fields[13]
        local is_suspect = not is_ending and lost > 0 and lost + 1 >= lost_max
        if is_suspect and #found > 0 then
          is_full = true
          break
        end
        found[#found + 1] = {
          id = id, fields = fields, is_used = fields[ENDED] or fields[PROGRESS], is_ending = is_ending, output = output_before,
        }
        if is_suspect then
          is_full = true
          break
        end
      end
    end
  end
  for _, id in ipairs(gone) do
    redis.call('ZREM', key('ready'), id)
    move_to_dead(id)
  end
  local is_at_end = #gone > 0 or looked < from + look_max
  return found, not is_at_end and looked or 0
end

begin_in_any_case()
-- A worker repeats the nonces of valid claims if it did not get the answer.
local held = {}
for _, id in ipairs(redis.call('HMGET', key('nonces'), unpack(nonces))) do
  if id and redis.call('ZSCORE', key('leased'), id) and has_hash(id) then
    redis.call('ZADD', key('leased'), now + lease_ms, id)
    held[#held + 1] = claim_of(id, redis.call('HMGET', request_key(id), unpack(ANSWERED)))
  end
end
if #held > 0 then
  return reply(true, held)
end

recover_lost()
forward_due()
local binding = redis.call('GET', key('binding'))
local open = redis.call('EXISTS', key('paused')) == 0 and (binding or not needs_binding) and true or false
local found, looked = take_ready(open)
if #found == 0 then
  redis.call('DEL', key('wake'))
  return reply(open, {}, looked)
end

local fence = redis.call('INCRBY', key('fence'), #found) - #found
local claims, leases, holders, taken = {}, {}, {}, {}
for index, request in ipairs(found) do
  local hash, nonce = request_key(request.id), nonces[index]
  taken[index] = request.id
  if request.is_used then
    redis.call('HDEL', hash, 'ended', 'progress', request.is_ending and 'ended' or 'report')
  end
  local fields = request.fields
  fields[5], fields[6] = string.format('%.0f', fence + index), nonce
  fields[7] = string.format('%.0f', count_of(fields[7]) + (request.is_ending and 0 or 1))
  redis.call('HSET', hash, 'attempts', fields[7], 'fence', fields[5], 'nonce', nonce, 'worker', worker, 'output', output)
  if request.is_ending then
    redis.call('HSET', hash, 'concluding', 1)
  end
  if binding then
    redis.call('HSET', hash, 'binding', binding)
    fields[9] = binding
  end
  leases[2 * index - 1], leases[2 * index] = now + lease_ms, request.id
  holders[2 * index - 1], holders[2 * index] = nonce, request.id
  claims[index] = claim_of(request.id, fields, request.output)
end
redis.call('ZREM', key('ready'), unpack(taken))
redis.call('HSET', key('nonces'), unpack(holders))
redis.call('ZADD', key('leased'), unpack(leases))
return reply(true, claims)
