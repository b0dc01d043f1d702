-- Remembers hosts that have answered a worker, and forgets those that were noted first.
--
-- KEYS[1]  `ingest:reached`, a key of no queue's
-- ARGV     how many are remembered, then the hosts

local now = now_ms()
for index = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now, ARGV[index])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[1]))
