#!lua flags=allow-oom
-- Removes lanes, and their topic. KEYS: the topic, if it is to go here; of each lane its state, its list, its delayed
-- entries. ARGV: topic id. What is another topic's by now stays.
-- Replies for each lane: 1 where it was there.
local first, replies = #KEYS % 3, {}
local function remove(from, to)
  if redis.call('HGET', KEYS[from], 'id') ~= ARGV[1] then return 0 end
  redis.call('UNLINK', unpack(KEYS, from, to))
  return 1
end
if first == 1 then remove(1, 1) end
for lane = 1, (#KEYS - first) / 3 do replies[lane] = remove(first + 3 * lane - 2, first + 3 * lane) end
return replies
