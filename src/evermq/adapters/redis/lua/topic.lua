#!lua
-- Makes a topic where it is missing, and adds groups. KEYS: the topic. ARGV: id, lanes, keep or refuse, groups.
-- Replies the topic's fields and values; one that is being dropped is left as it is.
if redis.call('HEXISTS', KEYS[1], 'dropped') == 1 then return redis.call('HGETALL', KEYS[1]) end
if redis.call('HSETNX', KEYS[1], 'id', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'format', 1, 'epoch', 1, 'lanes', ARGV[2], 'old', '', 'groups', '')
end
if ARGV[3] == 'keep' then redis.call('HSET', KEYS[1], 'keep', 1) end
local groups = redis.call('HGET', KEYS[1], 'groups')
for at = 4, #ARGV do
  if not string.find(',' .. groups .. ',', ',' .. ARGV[at] .. ',', 1, true) then
    groups = groups == '' and ARGV[at] or groups .. ',' .. ARGV[at]
  end
end
redis.call('HSET', KEYS[1], 'groups', groups)
return redis.call('HGETALL', KEYS[1])
