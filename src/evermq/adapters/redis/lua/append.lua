#!lua
-- Appends entries to lanes; refuses all of them or none.
-- KEYS: of each lane its state, its list, its delayed entries.
-- ARGV: topic id, how many messages a full lane keeps; then of each lane: number of entries, and of each entry: how
-- many messages it holds, when they are due (0: now), the entry. What finds room goes in whole: else a large batch would
-- wait for ever while small ones slip past it.
-- Replies for each lane: the offset of the first message of each entry, or a number below zero that says why not.
local id, count_max = ARGV[1], tonumber(ARGV[2])
local lanes = #KEYS / 3
local replies, states, refusal = {}, {}, 0
for lane = 1, lanes do
  local state = redis.call('HMGET', KEYS[3 * lane - 2], 'id', 'end', 'head_offset', 'delayed', 'groups', 'closed', 'keep')
  states[lane] = state
  if refusal == 0 then
    if state[1] ~= id then refusal = -1
    elseif state[6] then refusal = -3
    elseif state[5] == '' and not state[7] then refusal = -2
    elseif state[2] - state[3] + state[4] >= count_max then refusal = -4 end
  end
end
if refusal ~= 0 then
  for lane = 1, lanes do replies[lane] = refusal end
  return replies
end
local at = 3
for lane = 1, lanes do
  local state_key, list_key, delayed_key = KEYS[3 * lane - 2], KEYS[3 * lane - 1], KEYS[3 * lane]
  local items, offset, bases = tonumber(ARGV[at]), tonumber(states[lane][2]), {}
  at = at + 1
  for item = 1, items do
    local count, due, entry = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
    at = at + 3
    if due == '0' then
      redis.call('RPUSH', list_key, entry)
      bases[item] = offset
      offset = offset + count
    else
      local number = redis.call('HINCRBY', state_key, 'delays', 1)
      redis.call('HINCRBY', state_key, 'delayed', 1)
      redis.call('ZADD', delayed_key, due, struct.pack('>I8', number) .. entry)
      bases[item] = number
    end
  end
  redis.call('HSET', state_key, 'end', string.format('%.0f', offset))
  replies[lane] = bases
end
return replies
