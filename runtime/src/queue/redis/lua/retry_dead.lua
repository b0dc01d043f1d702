-- Makes dead requests ready again, and forgets their attempts, lost leases and errors.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     three for each request: its id, the time of its death (empty if any time will do), and its new input options
--          as JSON (empty if they stay)
-- Returns  for each request: `done`; `gone` if it is not dead or did not die at that time; `lost` if its hash is lost

local fault = broken('ZCARD', 'dead', 'ready')
  or broken('LLEN', 'wake')
  or denied('HGET', 'HSET', 'HDEL', 'ZADD')
if fault then
  return fault
end

local function retry(id, died_ms, input)
  local hash = request_key(id)
  if not is_dead(id, died_ms) then
    return 'gone'
  end
  -- An id in `dead` has no request to retry if the request's hash is lost, or if another program added the id to
  -- `dead`.
  local rank = redis.pcall('HGET', hash, 'rank')
  if type(rank) ~= 'string' then
    return 'lost'
  end
  redis.call('ZREM', key('dead'), id)
  -- This begins a new life of the request, so that earlier attempts that still run cannot commit it.
  local before = redis.call('HMGET', hash, 'life_ms', 'submitted_ms')
  local life_ms = math.max(now_ms(), (tonumber(before[1] or before[2] or nil) or 0) + 1)
  redis.call('HSET', hash, 'attempts', 0, 'lost', 0, 'life_ms', string.format('%.0f', life_ms))
  if input ~= '' then
    redis.call('HSET', hash, 'input', input)
  end
  redis.call('HDEL', hash, 'error', 'coded', 'waited_ms', 'checkpoint')
  forget_marks(id)
  make_ready(id)
  return 'done'
end

local answers = {}
for index = 1, #ARGV, 3 do
  answers[#answers + 1] = retry(ARGV[index], ARGV[index + 1], ARGV[index + 2])
end
return answers
