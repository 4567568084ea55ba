#!lua
-- Makes the state of lanes where it is missing. KEYS: the state of each lane. ARGV: topic id, keep or refuse.
-- Replies for each lane: 1 where it was made.
local replies = {}
for lane, state_key in ipairs(KEYS) do
  replies[lane] = redis.call('HSETNX', state_key, 'id', ARGV[1])
  if replies[lane] == 1 then
    redis.call('HSET', state_key, 'end', 0, 'head', 0, 'head_offset', 0, 'delayed', 0, 'delays', 0, 'groups', '')
  end
  if ARGV[2] == 'keep' then redis.call('HSET', state_key, 'keep', 1) end
end
return replies
