-- Reads the first documents of the intake list. A document there can have any size, so the number of bytes is bounded,
-- too.
--
-- KEYS[1]  the queue's base (see prelude.lua)
-- ARGV[1]  the maximum number of documents to read
-- ARGV[2]  the number of bytes after which no more documents are read
-- ARGV[3]  the maximum length of a document in bytes
-- ARGV[4]  the number of bytes that are returned of a longer document
-- Returns  for each document: its length, and the document or its beginning

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
