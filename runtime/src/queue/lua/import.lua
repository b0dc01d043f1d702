-- Takes documents off the intake list: each becomes a request or is set aside as invalid. The caller has read
-- and checked them; another worker may have done the same, so a document is taken only while it is the list's
-- head.
--
-- KEYS[1]  the queue's base
-- ARGV[1]  why a document whose id belongs to a request of other content is invalid
-- ARGV     then eight for each document, in the list's order: the document, why it is invalid (empty if it is
--          not), and the six of a request as in submit.lua (empty if it is invalid)
-- Returns  how many documents were taken

local now = now_ms()
local count = (#ARGV - 1) / 8
local heads = redis.call('LRANGE', key('in'), 0, count - 1)
local taken = 0
for index, head in ipairs(heads) do
  local first = 2 + (index - 1) * 8
  local document, reason = ARGV[first], ARGV[first + 1]
  if head ~= document then
    break
  end
  if reason == '' and create(request_at(first + 2), now) == 'conflict' then
    reason = ARGV[1]
  end
  if reason ~= '' then
    redis.call('LPUSH', key('invalid'), cjson.encode({ document = document, reason = reason, at_ms = now }))
  end
  taken = taken + 1
end
redis.call('LTRIM', key('in'), taken, -1)
return taken
