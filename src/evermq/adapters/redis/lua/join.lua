#!lua flags=allow-oom
-- Places a group in lanes. KEYS: of each lane its state and its list.
-- ARGV: topic id, group, where (oldest, newest, offset, time), offset or time, new or again.
-- `new` leaves a group that exists alone; `again` moves it, and takes the lane from whoever holds it.
-- Replies for each lane: 1 where the group was placed.
local id, group, where, value = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local CHUNK = 64

-- The entry that holds the place asked for: next, entry, base.
local function find(list_key, head, base, last)
  if where == 'oldest' then return base, head, base end
  local number, index = head, 0
  while where ~= 'newest' do
    local some = redis.call('LRANGE', list_key, index, index + CHUNK - 1)
    for _, entry in ipairs(some) do
      local _, count, time = struct.unpack('<BI4I8', entry)
      if where == 'offset' and base + count > value then return math.max(value, base), number, base end
      if where == 'time' and time >= value then return base, number, base end
      base, number = base + count, number + 1
    end
    if #some < CHUNK then break end
    index = index + CHUNK
  end
  return last, head + redis.call('LLEN', list_key), last
end

local function join(lane)
  local state_key = KEYS[2 * lane - 1]
  local state = redis.call('HMGET', state_key, 'id', 'end', 'head', 'head_offset', 'groups')
  if state[1] ~= id then return 0 end
  local known = redis.call('HEXISTS', state_key, 'next:' .. group) == 1
  if known and ARGV[5] == 'new' then return 0 end
  local nxt, entry, base = find(KEYS[2 * lane], tonumber(state[3]), tonumber(state[4]), tonumber(state[2]))
  redis.call('HSET', state_key, 'next:' .. group, string.format('%.0f,%.0f,%.0f', nxt, entry, base),
    'low:' .. group, string.format('%.0f,%.0f', entry, base))
  for _, field in ipairs({'handed:', 'blob:', 'again:', 'open:', 'owner:', 'until:', 'lease:'}) do
    redis.call('HDEL', state_key, field .. group)
  end
  if not known then
    redis.call('HSET', state_key, 'groups', state[5] == '' and group or state[5] .. ',' .. group)
  end
  return 1
end

local replies = {}
for lane = 1, #KEYS / 2 do replies[lane] = join(lane) end
return replies
