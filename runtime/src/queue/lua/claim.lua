-- Takes the next request, after what is due has come back to the queue.
--
-- KEYS[1]  the queue's base
-- ARGV     nonce, worker, lease in ms, lost leases that make a request poison, whether a binding is needed (1 or
--          0), how many requests may come back to the queue in one call
-- Returns  JSON: `open`, whether claims are granted; `intake`, the length of the intake list; `claim`, null or
--          the request with its fence, attempt, lost and binding

local nonce, worker, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lost_max, needs_binding, moved_max = tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local now = now_ms()

local function reply(open, claim)
  return cjson.encode({ open = open, intake = redis.call('LLEN', key('in')), claim = claim or cjson.null })
end

local function claim_of(id)
  local hash = redis.call('HMGET', request_key(id),
    'uri', 'priority', 'submitted_ms', 'input', 'fence', 'attempts', 'lost', 'binding')
  return {
    id = id, uri = hash[1], priority = tonumber(hash[2]), submitted_ms = tonumber(hash[3]), input = hash[4],
    fence = tonumber(hash[5]), attempt = tonumber(hash[6]), lost = tonumber(hash[7]),
    binding = tonumber(hash[8] or nil) or cjson.null,
  }
end

local function forward_due()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', now, 'LIMIT', 0, moved_max)) do
    redis.call('ZREM', key('delayed'), id)
    make_ready(id)
  end
end

local function has_hash(id)
  return redis.pcall('HEXISTS', request_key(id), 'uri') == 1
end

-- A request whose hash is gone (evicted, or deleted by hand) goes to the dead letters, where somebody sees it.
local function bury_hashless(id)
  local claims = redis.call('HGETALL', key('nonces'))
  for index = 1, #claims, 2 do
    if claims[index + 1] == id then
      redis.call('HDEL', key('nonces'), claims[index])
    end
  end
  redis.call('ZREM', key('leased'), id)
  redis.call('DEL', request_key(id))
  redis.call('HSET', request_key(id), 'error', 'the server lost the hash of this request')
  redis.call('ZADD', key('dead'), now, id)
end

local function lose_lease(id)
  local hash = request_key(id)
  end_claim(id, 'lost')
  uncount_attempt(id)
  local lost = redis.call('HINCRBY', hash, 'lost', 1)
  if cancel_if_asked(id, now) then
    return
  end
  if lost < lost_max then
    return make_ready(id)
  end
  redis.call('HSET', hash, 'error', string.format(
    'poison: %d leases were lost, the last by worker %s', lost, redis.call('HGET', hash, 'worker') or '?'))
  redis.call('ZADD', key('dead'), now, id)
end

local function recover_lost()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leased'), '-inf', now, 'LIMIT', 0, moved_max)) do
    if not has_hash(id) then
      bury_hashless(id)
    else
      lose_lease(id)
    end
  end
end

-- The first ready id that has a hash.
local function pop_ready()
  for _ = 1, moved_max do
    local id = redis.call('ZPOPMIN', key('ready'))[1]
    if not id or has_hash(id) then
      return id
    end
    bury_hashless(id)
  end
  return nil
end

-- Asked again with the nonce of a claim that stands: its answer was lost on the way.
local held = redis.call('HGET', key('nonces'), nonce)
if held and redis.call('ZSCORE', key('leased'), held) and has_hash(held) then
  redis.call('ZADD', key('leased'), now + lease_ms, held)
  return reply(true, claim_of(held))
end

recover_lost()
forward_due()
local binding = redis.call('GET', key('binding'))
local open = redis.call('EXISTS', key('paused')) == 0 and (binding or not needs_binding) and true or false
local id = open and pop_ready()
if not id then
  redis.call('DEL', key('wake'))
  return reply(open, nil)
end

local hash = request_key(id)
redis.call('HINCRBY', hash, 'attempts', 1)
redis.call('HDEL', hash, 'ended', 'progress')
redis.call('HSET', hash, 'fence', redis.call('INCR', key('fence')), 'nonce', nonce, 'worker', worker)
if binding then
  redis.call('HSET', hash, 'binding', binding)
end
redis.call('HSET', key('nonces'), nonce, id)
redis.call('ZADD', key('leased'), now + lease_ms, id)
return reply(true, claim_of(id))
