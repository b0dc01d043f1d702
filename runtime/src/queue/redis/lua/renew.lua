-- Extends a lease.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     the id, the fence, the nonce, the lease in ms, the progress (JSON), and the number of bytes that the last
--          checkpoint covers
-- Returns  `renewed`; `cancel` if the lease was renewed and somebody has asked to cancel the request; `lost` if the
--          claim is no longer valid; `gone` if there is no such request any more

local id, fence, nonce, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
-- This write comes before the check of the claim. So if the server refuses writes, a worker can find this out by
-- renewing a ticket that belongs to no claim.
begin_in_any_case()
if standing(id, fence, nonce) ~= 'held' then
  return redis.call('EXISTS', request_key(id)) == 1 and 'lost' or 'gone'
end
redis.call('ZADD', key('leased'), now_ms() + lease_ms, id)
redis.call('HSET', request_key(id), 'progress', ARGV[5])
-- A request whose checkpoints get further does not kill its workers, so its lost leases count no longer.
local checkpoint = tonumber(ARGV[6])
if checkpoint > 0 and checkpoint > (tonumber(redis.call('HGET', request_key(id), 'checkpoint') or 0) or 0) then
  redis.call('HSET', request_key(id), 'checkpoint', ARGV[6], 'lost', 0)
end
return redis.call('HEXISTS', request_key(id), 'cancel') == 1 and 'cancel' or 'renewed'
