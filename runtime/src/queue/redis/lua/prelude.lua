-- Defines the functions that the scripts share. This file is prepended to each script.
--
-- KEYS[1]  the queue's base, `ingest:{<queue>}`. It is not a key itself: the names of all keys of the queue begin with
--          it. The braces put all these keys into one cluster slot.
--
-- A request is a hash. Its id is a member of exactly one of the sorted sets in STATES.
--
-- Only a worker can see what an attempt has published. So after a claim of a request was lost (the hash has `stray`),
-- only a worker ends the request:
--
-- - A cancel sets `cancel` in the hash. If too many leases were lost, the claim that finds the last loss sets `ending`
--   (the reason). A request with one of these fields comes before all other ready requests.
-- - The next claim of such a request (`concluding`) ends it without an attempt.
-- - Until the request has ended, only workers with the output of the lost attempt (`output`, an id and a URI) can claim
--   it, or workers that take requests of other outputs.

local base = KEYS[1]
local STATES = { 'ready', 'delayed', 'leased', 'done', 'dead', 'cancelled' }
local WAKE_MAX = 64

local function key(name)
  return base .. ':' .. name
end

local function request_key(id)
  return base .. ':request:' .. id
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A script that fails halfway is not rolled back, and would leave a request in no state. So before its first write,
-- each script that changes states checks the keys that it uses after that write.

-- Returns an error if one of these keys has a wrong type, otherwise nil. `command` works only on keys of the right
-- type. The server's own error would not name the key.
local function broken(command, ...)
  for _, name in ipairs({ ... }) do
    local answer = redis.pcall(command, key(name))
    local refusal = type(answer) == 'table' and answer.err
    if refusal and not string.find(refusal, 'WRONGTYPE', 1, true) then
      return answer
    end
    if refusal or (command == 'GET' and answer and not tonumber(answer)) then
      local types = { ZCARD = 'a sorted set', HLEN = 'a hash', LLEN = 'a list', GET = 'a number' }
      return redis.error_reply(string.format(
        'WRONGTYPE %s holds a %s where the queue keeps %s: another program must have written it; remove it, or bring back what it was',
        key(name), redis.call('TYPE', key(name)).ok, types[command]))
    end
  end
  return nil
end

-- Does what `broken` does for the lists of groups. The group of the first request is the argument with the index `first`,
-- and each request has `step` arguments.
local function broken_group(first, step)
  local checked = {}
  for index = first, #ARGV, step do
    local group = ARGV[index]
    if group ~= '' and not checked[group] then
      checked[group] = true
      local fault = broken('ZCARD', 'group:' .. group)
      if fault then
        return fault
      end
    end
  end
  return nil
end

-- Returns an error if the user may not run one of these commands. Returns nil if the user may run all of them, or if
-- the server cannot answer this question (before version 7).
local function denied(...)
  for _, command in ipairs(redis.acl_check_cmd and { ... } or {}) do
    if not redis.acl_check_cmd(command, key('ready')) then
      return redis.error_reply(string.format('NOPERM this user may not run %s on %s', command, key('ready')))
    end
  end
  return nil
end

-- Makes a server with a full memory accept the script's later writes. Such a server refuses commands that need memory,
-- unless the script has already written something. This write needs no memory and changes nothing.
local function begin_in_any_case()
  redis.call('HDEL', key('nonces'), '')
end

-- Returns the state of a request, or nil if there is no such request.
local function state_of(id)
  for _, state in ipairs(STATES) do
    if redis.call('ZSCORE', key(state), id) then
      return state
    end
  end
  return nil
end

-- Returns whether a request is dead and, if a time is given, died at that time.
local function is_dead(id, died_ms)
  local since = redis.call('ZSCORE', key('dead'), id)
  return since and (died_ms == '' or tonumber(since) == tonumber(died_ms))
end

-- Tells up to `count` waiting workers to look again, with one token for each. The number of unused tokens is bounded,
-- and a claim that finds nothing removes them.
local function wake(count)
  local room = WAKE_MAX - redis.call('LLEN', key('wake'))
  for _ = 1, math.min(count, room) do
    redis.call('RPUSH', key('wake'), '1')
  end
end

-- The rank of a request that only has to be ended, or whose hash is gone. It is lower than all other ranks.
local FIRST = 0

local function make_ready(id)
  local request = redis.call('HMGET', request_key(id), 'rank', 'cancel', 'ending')
  local is_ending = request[2] or request[3]
  redis.call('ZADD', key('ready'), not is_ending and request[1] or FIRST, id)
  wake(1)
end

-- Creates a request, and returns 'created'. If the queue already has the same request, returns its state. If the queue
-- has another request with this id, returns 'conflict'.
local function create(request, now)
  local hash = request_key(request.id)
  local state = state_of(request.id)
  if state and state ~= 'leased' and redis.call('HEXISTS', hash, 'uri') == 0 then
    -- The server has lost the hash, so the request cannot be done. It is submitted again under its id.
    redis.call('ZREM', key(state), request.id)
  elseif state then
    local digest = redis.call('HGET', hash, 'digest')
    return (digest == request.digest or digest == request.digest_before) and state or 'conflict'
  end
  -- The highest priority comes first, then the oldest request. 201 priorities with 2^44 requests each stay below 2^53.
  -- Up to that number, a score is exact.
  local sequence = redis.call('INCR', key('sequence'))
  local rank = (100 - tonumber(request.priority)) * 2 ^ 44 + sequence
  redis.call('DEL', hash)
  redis.call('HSET', hash,
    'uri', request.uri, 'input', request.input, 'digest', request.digest, 'priority', request.priority,
    'rank', string.format('%.0f', rank), 'submitted_ms', now, 'attempts', 0, 'lost', 0)
  if request.group ~= '' then
    redis.call('HSET', hash, 'group', request.group)
    redis.call('ZADD', key('group:' .. request.group), sequence, request.id)
  end
  if tonumber(request.delay_ms) > 0 then
    redis.call('ZADD', key('delayed'), now + tonumber(request.delay_ms), request.id)
  else
    make_ready(request.id)
  end
  return 'created'
end

-- Takes a request that is about to be removed out of the list of its group.
local function leave_group(id)
  local group = redis.pcall('HGET', request_key(id), 'group')
  if type(group) == 'string' then
    redis.pcall('ZREM', key('group:' .. group), id)
  end
end

-- Reads the eight arguments of a request, which start at the index `first`.
local function request_at(first)
  return {
    id = ARGV[first], uri = ARGV[first + 1], priority = ARGV[first + 2],
    delay_ms = ARGV[first + 3], input = ARGV[first + 4], digest = ARGV[first + 5],
    digest_before = ARGV[first + 6], group = ARGV[first + 7],
  }
end

-- Returns 'held' if the claim with this fence and nonce is valid. If the claim has ended, returns the operation that
-- ended it. Returns nil if the claim is unknown, or if another claim came after it.
local function standing(id, fence, nonce)
  local last = redis.call('HMGET', request_key(id), 'fence', 'nonce', 'ended')
  if last[1] ~= fence or last[2] ~= nonce then
    return nil
  end
  return redis.call('ZSCORE', key('leased'), id) and 'held' or last[3]
end

-- Ends the claim of a leased request. The caller gives the request its next state in the same script.
local function end_claim(id, verb)
  local hash = request_key(id)
  redis.call('ZREM', key('leased'), id)
  redis.call('HDEL', key('nonces'), redis.call('HGET', hash, 'nonce') or '')
  redis.call('HSET', hash, 'ended', verb)
end

-- Subtracts the current attempt from the count of attempts, unless the claim only had to end the request.
local function uncount_attempt(id)
  if redis.call('HEXISTS', request_key(id), 'concluding') == 1 then
    return
  end
  local attempts = tonumber(redis.call('HGET', request_key(id), 'attempts') or 0) or 0
  redis.call('HSET', request_key(id), 'attempts', math.max(0, attempts - 1))
end

-- Removes the fields that matter only until the request has ended.
local function forget_marks(id)
  redis.call('HDEL', request_key(id), 'cancel', 'ending', 'concluding', 'stray', 'output')
end

-- Gives a request its next state after its claim has ended without a result. If nobody has asked to cancel the request,
-- it becomes ready or delayed. If somebody has, it becomes cancelled. But if an attempt may have left output (`stray`),
-- a request with a cancel becomes ready, and the next claim ends it: only a worker can see that output.
local function put_back_or_cancel(id, now, delay_ms)
  local marks = redis.call('HMGET', request_key(id), 'cancel', 'stray')
  if marks[1] and not marks[2] then
    forget_marks(id)
    redis.call('ZADD', key('cancelled'), now, id)
    return
  end
  if not marks[2] then
    redis.call('HDEL', request_key(id), 'output')
  end
  if delay_ms > 0 and not marks[1] then
    redis.call('ZADD', key('delayed'), now + delay_ms, id)
  else
    make_ready(id)
  end
end

-- Returns a count for people: a whole number of at least 0, whatever the hash contains.
local function count_of(text)
  local count = tonumber(text or 0) or 0
  return count > 0 and count < 2 ^ 32 and math.floor(count) or 0
end

-- Returns a request as JSON text, for people. A broken request must not hide the others.
local function describe(id, state)
  local hash = redis.pcall('HMGET', request_key(id), 'uri', 'attempts', 'lost', 'error', 'receipt', 'progress', 'cancel',
    'ending', 'stray', 'output', 'note', 'report', 'input', 'coded',
    'group')
  if hash.err then
    hash = { [4] = hash.err }
  end
  return cjson.encode({
    id = id, state = state, uri = hash[1] or '', attempts = count_of(hash[2]),
    lost = count_of(hash[3]), error = hash[4] or cjson.null, receipt = hash[5] or cjson.null,
    progress = state == 'leased' and hash[6] or cjson.null,
    cancel = hash[7] and true or false, ending = hash[8] or cjson.null,
    output = hash[9] and hash[10] or cjson.null, note = hash[11] or cjson.null,
    report = state == 'dead' and hash[12] or cjson.null,
    due_ms = state == 'delayed' and tonumber(redis.call('ZSCORE', key('delayed'), id)) or cjson.null,
    input = hash[13] or '', coded = hash[14] or cjson.null, group = hash[15] or cjson.null,
    lease_ends_ms = state == 'leased' and tonumber(redis.call('ZSCORE', key('leased'), id)) or cjson.null,
  })
end
