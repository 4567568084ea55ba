#!lua flags=allow-oom
-- Prolongs leases. KEYS: the state of each lane. ARGV: group, token, lease in ms.
-- Replies for each lane: 1, or 0 where the lease belongs to somebody else.
local group, token = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local till = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3])
local replies = {}
for lane, state_key in ipairs(KEYS) do
  replies[lane] = redis.call('HGET', state_key, 'owner:' .. group) == token and 1 or 0
  if replies[lane] == 1 then redis.call('HSET', state_key, 'until:' .. group, till, 'lease:' .. group, ARGV[3]) end
end
return replies
