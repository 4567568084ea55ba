#!lua flags=allow-oom
-- Leases lanes for a reader of a group and hands out what was never handed out.
-- KEYS: the readers of the group, where all keys are on one server; of each lane its state and its list.
-- ARGV: topic id, group, token, lease in ms, most messages, most bytes, how many lanes more the reader may hold if
-- nobody else reads, how many it holds, how long a reader that asked counts; then for each lane where the reader
-- stands ("next,entry,base") if it holds the lane already, else "".
-- Replies for each lane: {} where there is nothing, else {next, blob, handed, crashed, end, rest, the entries from
-- `entry` on}. rest: "head,count" where so many more are to be read by LRANGE, since a script copies each four times.
local id, group, token, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local count_left, bytes_left = tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local CHUNK_MAX, ENTRIES_MAX = 8, 4000
local LARGE, MUCH = 16384, 131072 -- bytes of an entry, and of what is left to the reader: it costs a round trip

-- A fair share of all lanes, so that a reader that comes later gets its part as soon as others have settled theirs.
local first, room = #KEYS % 2, tonumber(ARGV[7])
if first == 1 then
  local readers = redis.call('ZCOUNT', KEYS[1], now - tonumber(ARGV[9]), now + tonumber(ARGV[9]))
  room = math.min(room, math.ceil((room + tonumber(ARGV[8])) / math.max(1, readers)) - tonumber(ARGV[8]))
end

-- Whole entries while they fit; the first one always. Entries may be large: no more are looked at than seem to fit.
-- Returns them, the number behind the last message, and how many more entries are left to the reader.
local function fetch(list_key, index, nxt, base)
  local found, upto, chunk, count = {}, base, 1, 0
  while true do
    local some = redis.call('LRANGE', list_key, index, index + chunk - 1)
    for _, entry in ipairs(some) do
      count = select(2, struct.unpack('<BI4', entry))
      local fits = upto + count - nxt <= count_left and #entry <= bytes_left
      if #found > 0 and (not fits or #found >= ENTRIES_MAX) then return found, upto, 0 end
      found[#found + 1] = entry
      upto = upto + count
      bytes_left = bytes_left - #entry
    end
    index = index + #some
    local left = count_left - (upto - nxt)
    if #some < chunk or left <= 0 or bytes_left <= 0 then return found, upto, 0 end
    chunk = math.min(CHUNK_MAX, math.ceil(left / math.max(1, count)))
    local size = #some[#some]
    if size >= LARGE and chunk * size >= MUCH then
      bytes_left = bytes_left - chunk * size
      return found, nxt + count_left, chunk
    end
  end
end

local function take(lane)
  local state_key, list_key, from = KEYS[first + 2 * lane - 1], KEYS[first + 2 * lane], ARGV[9 + lane]
  if from == '' and room <= 0 then return {} end
  local state = redis.call('HMGET', state_key, 'id', 'end', 'head', 'next:' .. group, 'blob:' .. group,
    'handed:' .. group, 'again:' .. group, 'owner:' .. group, 'until:' .. group, 'lease:' .. group)
  if state[1] ~= id or not state[4] then return {} end
  local owner = state[8]
  if from ~= '' and owner ~= token then return {} end
  -- A lease that ends in twice its length and more is from before the clock was set back: it holds nothing.
  local left_ms = owner and tonumber(state[9]) - now
  if owner and owner ~= token and left_ms > 0 and left_ms <= 2 * tonumber(state[10] or left_ms) then return {} end
  -- One that is the reader's and that it does not know of: the answer that handed it over got lost.
  local crashed = owner and (owner ~= token or from == '')
  local stands = from ~= '' and from or state[4]
  local nxt, entry, base = string.match(stands, '(%d+),(%d+),(%d+)')
  nxt, entry, base = tonumber(nxt), tonumber(entry), tonumber(base)
  local again = from == '' and state[7] and tonumber(state[7]) <= now
  local more = tonumber(state[2]) > nxt
  if not (more or again or crashed) then return {} end
  local found, upto, rest = {}, base, 0
  if more and not again and not (crashed and state[5]) then
    found, upto, rest = fetch(list_key, entry - state[3], nxt, base)
    if rest == 0 and upto > tonumber(state[2]) then
      -- The list holds more than was counted, which no script leaves behind: what is there counts, else its last
      -- entries would wait for ever.
      state[2] = string.format('%.0f', upto)
      redis.call('HSET', state_key, 'end', state[2])
    end
  end
  if #found > 0 then
    local stop = math.min(upto, nxt + count_left, tonumber(state[2]))
    count_left = count_left - (stop - nxt)
    local handed = math.max(stop, tonumber(state[6] or 0))
    redis.call('HSET', state_key, 'handed:' .. group, string.format('%.0f', handed))
  end
  if from == '' then room = room - 1 end
  redis.call('HSET', state_key, 'owner:' .. group, token, 'until:' .. group, string.format('%.0f', now + lease_ms),
    'lease:' .. group, lease_ms)
  local left_over = rest > 0 and state[3] .. ',' .. rest or ''
  return {stands, state[5] or '', state[6] or '0', crashed and 1 or 0, state[2], left_over, unpack(found)}
end

local replies = {}
for lane = 1, (#KEYS - first) / 2 do
  replies[lane] = count_left > 0 and bytes_left > 0 and take(lane) or {}
end
return replies
