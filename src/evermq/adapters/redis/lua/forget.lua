#!lua flags=allow-oom
-- Takes a group from the list of a topic. KEYS: the topic. ARGV: topic id, group.
-- Replies the topic's fields and values, unchanged where it is another topic by now.
local topic = redis.call('HMGET', KEYS[1], 'id', 'groups')
if topic[1] == ARGV[1] then
  local left = {}
  for name in string.gmatch(topic[2], '[^,]+') do
    if name ~= ARGV[2] then left[#left + 1] = name end
  end
  redis.call('HSET', KEYS[1], 'groups', table.concat(left, ','))
end
return redis.call('HGETALL', KEYS[1])
