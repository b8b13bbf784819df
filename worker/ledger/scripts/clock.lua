-- The server's clock may be set. The waiting room's passes see it, and put right what was set by the clock as it was.

-- Workers pass here about every half second. Where nobody did for longer than this, and the worker that is here now did
-- not sleep as long, nobody can tell whether that time passed or the clock was set ahead. A smaller step ahead makes no
-- lease too short: a call begins only where a second more than it may take is left of it.
local UNKNOWN_MS = 1000
-- `seen` need not be more exact than this.
local NOTED_MS = 250
-- No lease and no wait of one request is longer: what is due later than that is a deadline.
local LONGEST_WAIT_MS = 3600 * 1000

-- The server's clock as these passes saw it:
--   seen: when the last of them was
--   steady: since when the clock is known to run evenly
--   ahead: how far it may have been set ahead shortly before that (ms)
--   due, rooms, watch, turns: where it was set back, how far the walk through each of these has come: "<score> <how
--   many with this score were left as they are>"
local CLOCK = BASE .. 'clock'
local stored = redis.call('HMGET', CLOCK, 'seen', 'steady', 'ahead', 'due', 'rooms', 'watch', 'turns')
local seen, steady, ahead = tonumber(stored[1] or NOW), tonumber(stored[2] or 0), tonumber(stored[3] or 0)
local walks = { due = stored[4], rooms = stored[5], watch = stored[6], turns = stored[7] }

local function begin_walk(name, from)
  walks[name] = from .. ' 0'
  redis.call('HSET', CLOCK, name, walks[name])
end

-- See whether the clock was set since the last pass; `told` and `slept` are those of `wake`. Returns by how much it was
-- set back.
local function look_at_clock(told, slept, lease_ms)
  local passed, set_back = NOW - seen, 0
  local unknown = told > 0 and math.min(passed, NOW - told - slept) or passed
  if not stored[1] or passed >= NOTED_MS or passed < -SLACK_MS then redis.call('HSET', CLOCK, 'seen', NOW) end
  if passed < -SLACK_MS then
    set_back, unknown = -passed, 0
    local far = math.max(seen + LONGEST_WAIT_MS, tonumber(string.match(stored[4] or '0', '^%d+')))
    begin_walk('due', string.format('%.0f', far))
    begin_walk('rooms', '+inf')
    begin_walk('watch', '+inf')
    begin_walk('turns', '+inf')
  elseif unknown <= UNKNOWN_MS then
    return 0
  end
  -- Of steps a lease apart, each lease can have met one only.
  ahead = unknown + (seen - steady < lease_ms and ahead or 0)
  steady = NOW
  redis.call('HSET', CLOCK, 'steady', steady, 'ahead', ahead)
  return set_back
end

-- Go on from the far end of a set towards `now`; `mend` returns whether it moved an id nearer.
local function walk(name, limit, mend, now)
  local to, left = string.match(walks[name] or '', '^(%S+) (%d+)$')
  if not to then return end
  left = tonumber(left)
  local rows = redis.call('ZREVRANGEBYSCORE', BASE .. name, to, string.format('(%.0f', now or NOW), 'WITHSCORES',
    'LIMIT', left, limit)
  for i = 1, #rows, 2 do
    if rows[i + 1] ~= to then to, left = rows[i + 1], 0 end
    if not mend(rows[i], tonumber(rows[i + 1])) then left = left + 1 end
  end
  if #rows < 2 * limit then
    redis.call('HDEL', CLOCK, name)
  else
    redis.call('HSET', CLOCK, name, to .. ' ' .. left)
  end
end

-- When something that was set for `at` before the clock was set back is due now, or nil where that needs no change.
local function due_after_all(id, at, lease_ms)
  local rec = redis.call('HMGET', record_key(id), 'status', 'lease', 'next_attempt_at', 'updated_at', 'deadline_at')
  local deadline_at = tonumber(rec[5] or at)
  if rec[1] == 'calling' then
    return NOW + math.max(lease_ms, tonumber(rec[2] or 0))
  elseif rec[1] == 'queued' then
    return at < deadline_at and NOW or deadline_at
  elseif rec[3] and past(rec[4]) == 0 then -- it waits alone, as long as it was to, from now on
    local wake_at = NOW + math.max(0, tonumber(rec[3]) - tonumber(rec[4]))
    redis.call('HSET', record_key(id), 'next_attempt_at', wake_at, 'updated_at', NOW)
    return math.min(wake_at, deadline_at)
  end
end

local function mend_due(id, at, lease_ms)
  local due_at = due_after_all(id, at, lease_ms)
  if not due_at or due_at >= at then return false end
  redis.call('ZADD', BASE .. 'due', due_at, id)
  return true
end

local function mend_room(room)
  -- An empty room has no first: it is looked into now, and closed.
  redis.call('ZADD', BASE .. 'rooms', NOW, room)
  wake_room(room)
  return true
end

local function mend_watch(appid)
  redis.call('ZADD', BASE .. 'watch', NOW, appid)
  return true
end

-- Whose last turn lies ahead has it now.
local function mend_turn(appid, turn)
  local from = turn >= TURNS_OF_BATCHES and TURNS_OF_BATCHES or 0
  if turn - from <= LAST_TURN then return false end
  redis.call('ZADD', TURNS, from + LAST_TURN, appid)
  return true
end

-- Go on to put right what a clock set back left too far ahead, at most `limit` of a kind.
local function walk_back(limit, lease_ms)
  walk('due', limit, function(id, at) return mend_due(id, at, lease_ms) end)
  walk('rooms', limit, mend_room)
  walk('watch', limit, mend_watch)
  walk('turns', limit, mend_turn, LAST_TURN)
end

-- Whether a lease that ran out `at` did so by every clock: where the server's may have been set ahead since it began,
-- its holder may be alive, with a call under way. It is given as much more, its own length at most.
local function has_run_out(id, at, lease_ms)
  local lease = tonumber(redis.call('HGET', record_key(id), 'lease') or lease_ms)
  local ends = at - lease < steady and math.min(at + ahead, NOW + lease) or at
  if ends <= NOW then return true end
  redis.call('HSET', record_key(id), 'lease', ends - NOW) -- as if it began now, so that this is given once
  redis.call('ZADD', BASE .. 'due', ends, id)
  return false
end
