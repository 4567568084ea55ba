#!lua flags=no-writes
-- Entries by their numbers. KEYS: of each lane its state and its list. ARGV: of each lane: how many, and which.
-- Replies for each lane: the entries, false for one that is not there.
local replies, at = {}, 1
for lane = 1, #KEYS / 2 do
  local head = tonumber(redis.call('HGET', KEYS[2 * lane - 1], 'head') or 0)
  local count, found = tonumber(ARGV[at]), {}
  for item = 1, count do
    local index = tonumber(ARGV[at + item]) - head
    found[item] = index >= 0 and redis.call('LINDEX', KEYS[2 * lane], index) or false
  end
  at = at + count + 1
  replies[lane] = found
end
return replies
