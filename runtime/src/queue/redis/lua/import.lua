-- Takes documents off the intake list: each becomes a request or is set aside as invalid. The caller has read and
-- checked the documents. Another worker may have taken the same documents meanwhile, so a document is taken only if it
-- is still the head of the list.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV[1]  the reason why a document is invalid if its id belongs to a request with other content
-- ARGV[2]  the code of that reason
-- ARGV     from 3 on, twelve for each document, in the order of the list:
--          - the document's length
--          - the document, or its beginning
--          - the reason why the document is invalid, and the code of that reason (empty if the document is valid)
--          - the eight arguments of a request as in submit.lua (empty if the document is invalid)
-- Returns  the number of documents that were taken

local fault = broken('ZCARD', unpack(STATES))
  or broken('LLEN', 'wake', 'in', 'invalid')
  or broken('GET', 'sequence')
  or broken_group(14, 12)
  or denied('DEL', 'HSET', 'ZADD')
if fault then
  return fault
end
local now = now_ms()
local taken = 0
for first = 3, #ARGV, 12 do
  local length, document = tonumber(ARGV[first]), ARGV[first + 1]
  local reason, code = ARGV[first + 2], ARGV[first + 3]
  local head = redis.call('LINDEX', key('in'), taken)
  if not head or #head ~= length or string.sub(head, 1, #document) ~= document then
    break
  end
  if reason == '' and create(request_at(first + 4), now) == 'conflict' then
    reason, code = ARGV[1], ARGV[2]
  end
  if reason ~= '' then
    local entry = { document = document, reason = reason, code = code, at_ms = now }
    redis.call('LPUSH', key('invalid'), cjson.encode(entry))
  end
  taken = taken + 1
end
redis.call('LTRIM', key('in'), taken, -1)
return taken
