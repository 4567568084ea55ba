#!lua flags=no-writes
-- What groups have still to settle. KEYS: of each lane its state, its list, its delayed entries. ARGV: topic id.
-- Replies for each lane: {} where it does not exist, else {kept, delayed, first delayed entry, end, and of each
-- group: name, backlog, head of its oldest entry}.
local HEAD_BYTES = 13
local replies = {}
for lane = 1, #KEYS / 3 do
  local state_key = KEYS[3 * lane - 2]
  local state = redis.call('HMGET', state_key, 'id', 'end', 'head', 'head_offset', 'delayed', 'groups')
  local reply = {}
  if state[1] == ARGV[1] then
    local first = redis.call('ZRANGE', KEYS[3 * lane], 0, 0)[1]
    reply = {state[2] - state[4], tonumber(state[5]), first and string.sub(first, 9, 8 + HEAD_BYTES) or '',
      tonumber(state[2])}
    for group in string.gmatch(state[6], '[^,]+') do
      local of = redis.call('HMGET', state_key, 'next:' .. group, 'open:' .. group, 'low:' .. group)
      local backlog = state[2] - string.match(of[1], '^%d+') + (of[2] or 0)
      local oldest = backlog > 0 and redis.call('LINDEX', KEYS[3 * lane - 1], string.match(of[3], '^%d+') - state[3])
      reply[#reply + 1] = group
      reply[#reply + 1] = backlog
      reply[#reply + 1] = oldest and string.sub(oldest, 1, HEAD_BYTES) or ''
    end
  end
  replies[lane] = reply
end
return replies
