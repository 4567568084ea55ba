#!lua flags=allow-oom
-- Writes what a group has done in lanes, where the lease is still the reader's own, and trims the lists at the
-- slowest group.
-- KEYS: of each lane its state and its list. ARGV: group, token, lease in ms; then of each lane: free or keep,
-- next, handed, blob, again, open, low ("entry,base"); an empty text removes what it stands for.
-- Replies for each lane: 1, or 0 where the lease belongs to somebody else.
local group, token, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function trim(state_key, list_key)
  local state = redis.call('HMGET', state_key, 'head', 'groups')
  local low_entry, low_base
  for name in string.gmatch(state[2], '[^,]+') do
    local entry, base = string.match(redis.call('HGET', state_key, 'low:' .. name), '(%d+),(%d+)')
    if not low_entry or tonumber(entry) < low_entry then low_entry, low_base = tonumber(entry), base end
  end
  local head = tonumber(state[1])
  if low_entry and low_entry > head then
    redis.call('LTRIM', list_key, low_entry - head, -1)
    redis.call('HSET', state_key, 'head', string.format('%.0f', low_entry), 'head_offset', low_base)
  end
end

local function save(lane)
  local state_key, at = KEYS[2 * lane - 1], 3 + 7 * (lane - 1)
  if redis.call('HGET', state_key, 'owner:' .. group) ~= token then return 0 end
  local set = {'next:' .. group, ARGV[at + 2], 'low:' .. group, ARGV[at + 7]}
  local gone = {}
  for field, value in pairs({handed = ARGV[at + 3], blob = ARGV[at + 4], again = ARGV[at + 5], open = ARGV[at + 6]}) do
    if value == '' then
      gone[#gone + 1] = field .. ':' .. group
    else
      set[#set + 1] = field .. ':' .. group
      set[#set + 1] = value
    end
  end
  if ARGV[at + 1] == 'free' then
    gone[#gone + 1] = 'owner:' .. group
    gone[#gone + 1] = 'until:' .. group
    gone[#gone + 1] = 'lease:' .. group
  else
    set[#set + 1] = 'until:' .. group
    set[#set + 1] = string.format('%.0f', now + lease_ms)
    set[#set + 1] = 'lease:' .. group
    set[#set + 1] = lease_ms
  end
  redis.call('HSET', state_key, unpack(set))
  if #gone > 0 then redis.call('HDEL', state_key, unpack(gone)) end
  trim(state_key, KEYS[2 * lane])
  return 1
end

local replies = {}
for lane = 1, #KEYS / 2 do replies[lane] = save(lane) end
return replies
