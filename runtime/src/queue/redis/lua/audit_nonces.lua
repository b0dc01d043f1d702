-- Checks entries of the nonce index in their present state.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV     nonces
-- Returns  a sentence for each nonce that does not belong to a claim

local faults = {}
for _, nonce in ipairs(ARGV) do
  local id = redis.call('HGET', key('nonces'), nonce)
  if id and not (redis.call('ZSCORE', key('leased'), id)
    and redis.call('HGET', request_key(id), 'nonce') == nonce) then
    faults[#faults + 1] = 'nonce ' .. nonce .. ' points at request ' .. id .. ', which is not claimed with it'
  end
end
return faults
