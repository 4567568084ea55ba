#!lua flags=allow-oom
-- Who reads: notes that a reader asked. KEYS: the readers of a group. ARGV: token, window in ms, leave or stay.
-- It is written once in half a window only, since a write may cost a flush.
-- Replies how many asked within the window, and what time it is.
local token, window = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('ZSCORE', KEYS[1], token)
if ARGV[3] == 'leave' then
  redis.call('ZREM', KEYS[1], token)
elseif not seen or math.abs(now - seen) > window / 2 then
  redis.call('ZADD', KEYS[1], now, token)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10 * window)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 10 * window, '+inf') -- from before the clock was set back
end
return {redis.call('ZCOUNT', KEYS[1], now - window, now + window), now}
