-- Reads the head of the intake list. Documents of any size may be in it, so bytes are counted, too.
--
-- KEYS[1]  the queue's base
-- ARGV     the most documents to read, the bytes after which no more are read, the longest document, how much of a
--          longer one is given
-- Returns  for each document its length and itself, or its beginning

local count, budget, longest, clip = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local answers, bytes = {}, 0
for index = 0, count - 1 do
  local document = bytes < budget and redis.call('LINDEX', key('in'), index)
  if not document then
    break
  end
  bytes = bytes + #document
  answers[#answers + 1] = #document
  answers[#answers + 1] = #document > longest and string.sub(document, 1, clip) or document
end
return answers
