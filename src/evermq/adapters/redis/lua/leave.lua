#!lua flags=allow-oom
-- Takes a group out of lanes, and trims the lists at the slowest of those that are left, or whole where none is.
-- KEYS: of each lane its state and its list. ARGV: topic id, group, look or leave; look changes nothing.
-- Replies for each lane: 0 where the group is not there, 1 where it is, or was; 2 where a reader of it has the lane.
local id, group = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function trim(state_key, list_key, groups)
  local state = redis.call('HMGET', state_key, 'head', 'end')
  local head = tonumber(state[1])
  local low_entry, low_base = head + redis.call('LLEN', list_key), state[2]
  for number, name in ipairs(groups) do
    local entry, base = string.match(redis.call('HGET', state_key, 'low:' .. name), '(%d+),(%d+)')
    if number == 1 or tonumber(entry) < low_entry then low_entry, low_base = tonumber(entry), base end
  end
  if low_entry > head then
    redis.call('LTRIM', list_key, low_entry - head, -1)
    redis.call('HSET', state_key, 'head', string.format('%.0f', low_entry), 'head_offset', low_base)
  end
end

local function leave(lane)
  local state_key = KEYS[2 * lane - 1]
  local state = redis.call('HMGET', state_key, 'id', 'groups', 'owner:' .. group, 'until:' .. group,
    'lease:' .. group)
  if state[1] ~= id then return 0 end
  local left, found = {}, 0
  for name in string.gmatch(state[2], '[^,]+') do
    if name == group then found = 1 else left[#left + 1] = name end
  end
  if found == 0 then return 0 end
  -- A lease that ends in twice its length and more is from before the clock was set back: it holds nothing.
  local left_ms = state[3] and tonumber(state[4]) - now
  if left_ms and left_ms > 0 and left_ms <= 2 * tonumber(state[5] or left_ms) then return 2 end
  if ARGV[3] == 'look' then return 1 end
  redis.call('HSET', state_key, 'groups', table.concat(left, ','))
  for _, field in ipairs({'next:', 'low:', 'handed:', 'blob:', 'again:', 'open:', 'owner:', 'until:', 'lease:'}) do
    redis.call('HDEL', state_key, field .. group)
  end
  trim(state_key, KEYS[2 * lane], left)
  return 1
end

local replies = {}
for lane = 1, #KEYS / 2 do replies[lane] = leave(lane) end
return replies
