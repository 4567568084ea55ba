#!lua flags=allow-oom
-- Ends lanes that took part in an earlier lane count: no append comes in any more, and those that every group has
-- emptied are removed. KEYS: of each lane its state, its list, its delayed entries. ARGV: topic id.
-- Replies for each lane: 1 where it is gone.
local replies = {}
local function close(lane)
  local state_key = KEYS[3 * lane - 2]
  local state = redis.call('HMGET', state_key, 'id', 'end', 'delayed', 'groups')
  if state[1] ~= ARGV[1] then return 1 end
  redis.call('HSET', state_key, 'closed', 1)
  if tonumber(state[3]) > 0 then return 0 end
  for group in string.gmatch(state[4], '[^,]+') do
    local of = redis.call('HMGET', state_key, 'next:' .. group, 'open:' .. group, 'owner:' .. group)
    if of[2] or of[3] or tonumber(string.match(of[1], '^%d+')) < tonumber(state[2]) then return 0 end
  end
  if state[4] == '' and redis.call('LLEN', KEYS[3 * lane - 1]) > 0 then return 0 end
  redis.call('DEL', state_key, KEYS[3 * lane - 1], KEYS[3 * lane])
  return 1
end
for lane = 1, #KEYS / 3 do replies[lane] = close(lane) end
return replies
