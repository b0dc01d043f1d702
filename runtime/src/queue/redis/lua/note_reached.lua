-- Remembers hosts that have answered a worker. If there are too many, forgets the hosts that were noted first.
--
-- KEYS[1]  `ingest:reached`, a key that belongs to no queue
-- ARGV     the maximum number of hosts to remember, then the hosts

local now = now_ms()
for index = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now, ARGV[index])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[1]))
