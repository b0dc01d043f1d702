-- Extends a lease.
--
-- KEYS[1]  the queue's base
-- ARGV     id, fence, nonce, lease in ms, progress (JSON)
-- Returns  `renewed`, `cancel` (renewed, and somebody asked for the request to be cancelled), `lost`, or `gone` if there is
--          no such request any more

local id, fence, nonce, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
-- This comes before the check of the claim, so that a server that refuses writes says so even to a probe without a
-- claim.
begin_in_any_case()
if standing(id, fence, nonce) ~= 'held' then
  return redis.call('EXISTS', request_key(id)) == 1 and 'lost' or 'gone'
end
redis.call('ZADD', key('leased'), now_ms() + lease_ms, id)
redis.call('HSET', request_key(id), 'progress', ARGV[5])
return redis.call('HEXISTS', request_key(id), 'cancel') == 1 and 'cancel' or 'renewed'
