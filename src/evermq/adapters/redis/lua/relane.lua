#!lua
-- Gives a topic another number of lanes: a new epoch. KEYS: the topic. ARGV: topic id, epoch, lanes of the new one.
-- Replies 1, or 0 where the topic is another one, or at another epoch, or being dropped by now.
local topic = redis.call('HMGET', KEYS[1], 'id', 'epoch', 'lanes', 'old', 'dropped')
if topic[1] ~= ARGV[1] or topic[2] ~= ARGV[2] or topic[5] then return {0} end
local old = topic[4] .. topic[2] .. ':' .. topic[3] .. ','
redis.call('HSET', KEYS[1], 'epoch', topic[2] + 1, 'lanes', ARGV[3], 'old', old)
return {1}
