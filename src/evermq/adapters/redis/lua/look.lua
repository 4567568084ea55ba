#!lua flags=allow-oom
-- What there is for a group, and moves to the lists what is due.
-- KEYS: of each lane its state, its list, its delayed entries. ARGV: topic id, group, token of the reader.
-- Replies for each lane a letter, and behind it in how many milliseconds that changes, where this is known.
-- Letters: r there is something to take; h there is, and another reader holds the lane; o there is something not
-- settled, but nothing to take now; m so it is, and the lane is the asker's; e everything is settled; x so it is, and
-- the lane is closed, or it does not exist.
local id, group, token = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local replies = {}

local function move_due(lane, delayed, last)
  local state_key, list_key, delayed_key = KEYS[3 * lane - 2], KEYS[3 * lane - 1], KEYS[3 * lane]
  local due = redis.call('ZRANGEBYSCORE', delayed_key, '-inf', now, 'LIMIT', 0, 100)
  for _, member in ipairs(due) do
    redis.call('RPUSH', list_key, string.sub(member, 9))
    redis.call('ZREM', delayed_key, member)
  end
  if #due > 0 then
    last = redis.call('HINCRBY', state_key, 'end', #due)
    delayed = redis.call('HINCRBY', state_key, 'delayed', -#due)
  end
  local first = redis.call('ZRANGE', delayed_key, 0, 0, 'WITHSCORES')
  return last, first[2] and tonumber(first[2]) or nil
end

local function look(lane)
  local state = redis.call('HMGET', KEYS[3 * lane - 2], 'id', 'end', 'delayed', 'next:' .. group,
    'owner:' .. group, 'until:' .. group, 'again:' .. group, 'open:' .. group, 'closed', 'handed:' .. group,
    'lease:' .. group)
  if state[1] ~= id or not state[4] then return 'x' end
  local last, wake = tonumber(state[2]), nil
  local delayed = tonumber(state[3])
  if delayed > 0 then last, wake = move_due(lane, delayed, last) end
  local nxt = tonumber(string.match(state[4], '^%d+'))
  if state[5] == token then nxt = math.max(nxt, tonumber(state[10] or 0)) end
  local again = state[7] and tonumber(state[7])
  local letter = 'e'
  if last > nxt or (again and again <= now) then
    letter = 'r'
  elseif state[8] or state[5] then
    letter = state[5] == token and 'm' or 'o'
    if again then wake = math.min(wake or again, again) end
  end
  -- A lease that ends in twice its length and more is from before the clock was set back: it holds nothing.
  local left_ms = state[5] and tonumber(state[6]) - now
  if state[5] and state[5] ~= token and left_ms > 0 and left_ms <= 2 * tonumber(state[11] or left_ms) then
    if letter == 'r' then letter = 'h' end
    wake = math.min(wake or tonumber(state[6]), tonumber(state[6]))
  elseif state[5] and state[5] ~= token then
    letter = 'r'
  end
  if letter == 'e' and state[9] and not wake then letter = 'x' end
  return letter .. (wake and string.format('%.0f', math.max(1, wake - now)) or '')
end

for lane = 1, #KEYS / 3 do replies[lane] = look(lane) end
return replies
