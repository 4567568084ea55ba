#!lua flags=allow-oom
-- Marks a topic that is being dropped: nobody finds it from now on. KEYS: the topic. ARGV: topic id.
-- Replies the topic's fields and values, or nothing where it is another topic by now, or none.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return {} end
redis.call('HSET', KEYS[1], 'dropped', 1)
return redis.call('HGETALL', KEYS[1])
