#!lua flags=allow-oom
-- Forgets the lanes of earlier epochs, where they are still those that were found to be gone.
-- KEYS: the topic. ARGV: topic id, the field `old` as it named them.
-- Replies the topic's fields and values, or nothing where it is another topic by now, or none.
local topic = redis.call('HMGET', KEYS[1], 'id', 'old')
if topic[1] ~= ARGV[1] then return {} end
if topic[2] == ARGV[2] then redis.call('HSET', KEYS[1], 'old', '') end
return redis.call('HGETALL', KEYS[1])
