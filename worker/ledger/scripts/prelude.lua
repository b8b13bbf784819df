-- What every script shares: the clock, the names of the structures, and the moves of a request.
-- KEYS[1] is the deployment's prefix, "{kf}:"; ARGV[1] is how long final records are kept, in ms.
-- All times are ms of the server's clock. No script re-encodes a producer's JSON.

local BASE = KEYS[1]
local RETENTION_MS = tonumber(ARGV[1])
-- About the newest million changes of state are kept.
local EVENTS = 1000000
-- A doubt outlives every request that was live when it arose: the longest life is 48 h.
local DOUBT_MS = 48 * 3600 * 1000
-- Who is queued for so long is rung again where doorbells are few, ms.
local RING_AGAIN_MS = 2000

local time = redis.call('TIME')
local NOW = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Two servers that take over from each other may differ by so much, ms: a moment so little ahead is now.
local SLACK_MS = 1000
-- The longest pause between two readings of who is online, where the ledger does not tell when it was set.
local LONGEST_PAUSE_MS = 3600 * 1000

-- When something happened, as far as that can be right. A moment ahead was written before the clock was set back: it
-- counts as long ago (0), so that nothing rests on it for longer than it was meant to.
local function past(at)
  at = tonumber(at or 0)
  return at <= NOW + SLACK_MS and at or 0
end

-- When the agents of an account may be read again, of its fields `next` and `tried`; 0 where that is not believed.
local function next_reading(next_at, tried)
  next_at = tonumber(next_at or 0)
  if tried then return past(tried) > 0 and next_at or 0 end
  return next_at <= NOW + LONGEST_PAUSE_MS and next_at or 0 -- the release before did not write `tried`
end

local function record_key(id) return BASE .. 'request:' .. id end
local function fan_key(rec) return BASE .. 'fan:' .. rec.appid .. ':' .. rec.openid end
local function account_key(appid) return BASE .. 'account:' .. appid end
local function doubt_key(rec) return BASE .. 'doubt:' .. rec.appid .. ':' .. rec.openid end

local function index_key(status, reason, lane)
  local detail = reason
  if status == 'queued' then detail = lane
  elseif status == 'calling' or status == 'created' or status == 'already_served' then detail = '' end
  if detail == '' then return BASE .. 'index:' .. status end
  return BASE .. 'index:' .. status .. ':' .. detail
end

local FINAL = { created = true, already_served = true, failed = true, expired = true, cancelled = true }

local function count(name) redis.call('HINCRBY', BASE .. 'counters', name, 1) end

local function load(id)
  local v = redis.pcall('HMGET', record_key(id), 'status', 'reason', 'lane', 'submitted_at', 'appid',
    'openid', 'deadline_at', 'fence', 'updated_at', 'cancel', 'calling', 'targets', 'kept_until', 'out',
    'attempts', 'calls', 'crashes', 'holder')
  if not (v.err or v[1]) then return nil end
  if v.err or not (v[3] and v[4] and v[5] and v[6] and v[7] and v[9] and v[12]) then -- not written by us
    count('broken_record')
    return nil
  end
  return { id = id, status = v[1], reason = v[2] or '', lane = v[3], submitted_at = v[4], appid = v[5],
    openid = v[6], deadline_at = tonumber(v[7]), fence = tonumber(v[8] or 0),
    updated_at = tonumber(v[9]), cancel = v[10], calling = v[11] or '', targets = v[12],
    kept_until = tonumber(v[13] or 0), out = v[14] or '', attempts = v[15] or 0, calls = v[16] or 0,
    crashes = v[17] or 0, holder = v[18] }
end

-- A room holds who waits for the same thing; it is named by account and target list. Who is moved on leaves it,
-- so this much of it stands here; `rooms.lua` has the rest.
local function room_of(rec) return rec.appid .. ':' .. rec.targets end
local function room_key(room) return BASE .. 'room:' .. room end
local function door_key(room) return BASE .. 'door:' .. room end

-- Nobody is in `room` any more.
local function close_room(room)
  redis.call('ZREM', BASE .. 'rooms', room)
  redis.call('SREM', BASE .. 'rooms:' .. string.match(room, '^[^:]+'), room)
end

local function leave_room(rec)
  local room = room_of(rec)
  if redis.call('ZREM', room_key(room), rec.id) == 1 and redis.call('ZCARD', room_key(room)) == 0 then
    close_room(room)
  end
end

-- One change of state: record, index and event in the same step. More fields of the record can come along.
local function change_state(rec, status, reason, ...)
  local from = index_key(rec.status, rec.reason, rec.lane)
  local to = index_key(status, reason, rec.lane)
  if from ~= to then
    if rec.status ~= '' then redis.call('ZREM', from, rec.id) end -- a new one stands nowhere yet
    redis.call('ZADD', to, rec.submitted_at, rec.id)
  end
  redis.call('HSET', record_key(rec.id), 'status', status, 'reason', reason, 'updated_at', NOW, ...)
  local said = (status == 'queued' or status == 'calling') and '' or reason -- kept, but it is past
  redis.call('XADD', BASE .. 'events', 'MAXLEN', '~', EVENTS, '*',
    'id', rec.id, 'status', status, 'reason', said)
  rec.status, rec.reason, rec.updated_at = status, reason, NOW
end

-- The same for a request that leaves where it stood.
local function move(rec, status, reason, ...)
  if rec.status == 'waiting' then leave_room(rec) end
  change_state(rec, status, reason, ...)
end

-- The probe of a held account ends and found nothing out: another may go at once, whichever room it stands in.
local function release_probe(rec)
  local hold = redis.call('HGET', account_key(rec.appid), 'hold')
  local held_for = hold and string.match(hold, '^%d+( %S+ %d+ )' .. rec.id .. '$')
  if not held_for then return end
  redis.call('HSET', account_key(rec.appid), 'hold', string.format('%.0f', NOW) .. held_for .. '-', 'held_at', NOW)
  redis.call('HSET', BASE .. 'stirring', rec.appid, '0')
end

-- The end: nothing changes the record after this but `retry`, and retention removes it.
local function finish(rec, status, reason, ...)
  move(rec, status, reason, 'finished_at', NOW, ...)
  redis.call('HDEL', record_key(rec.id), 'next_attempt_at', 'calling', 'holder', 'lease', 'cancel', 'crashes')
  redis.call('ZREM', BASE .. 'due', rec.id)
  release_probe(rec)
  redis.call('ZADD', BASE .. 'retention', math.max(NOW + RETENTION_MS, rec.kept_until), rec.id)
end

-- Back into its lane; the waiting room looks at it at its deadline, or at `due_at` when that is given.
local function queue(rec, due_at)
  move(rec, 'queued', rec.reason)
  redis.call('HDEL', record_key(rec.id), 'next_attempt_at', 'calling', 'holder', 'lease')
  redis.call('ZADD', BASE .. 'due', due_at or rec.deadline_at, rec.id)
end

-- The agent who may have been given this fan unseen, or false. The doubt outlives the request.
local function doubt_of(rec) return redis.call('GET', doubt_key(rec)) end

local function set_doubt(rec, kf_account)
  redis.call('SET', doubt_key(rec), kf_account, 'PX', string.format('%.0f', math.max(RETENTION_MS, DOUBT_MS)))
end

-- An idempotency key points at `rec` until then, at least; the record must not go before it.
local function keep_until(rec, at)
  rec.kept_until = math.max(rec.kept_until or 0, at)
  redis.call('HSET', record_key(rec.id), 'kept_until', rec.kept_until)
end

-- The request's own key lives at least as long as the request.
local function keep_own_key(rec)
  local key = redis.call('HGET', record_key(rec.id), 'key')
  local name = key and BASE .. 'key:' .. rec.appid .. ':' .. key
  local used = key and redis.call('GET', name)
  if used and string.match(used, '^%S+') == rec.id and redis.call('PTTL', name) < rec.deadline_at - NOW then
    redis.call('PEXPIREAT', name, string.format('%.0f', rec.deadline_at))
    keep_until(rec, rec.deadline_at)
  end
end

-- The fields of `n` attempts, given from ARGV[first] on as slot, call and message.
local function attempt_fields(n, first)
  local fields = {}
  for at = first, first + 3 * (n - 1), 3 do
    for _, part in ipairs({ 'a' .. ARGV[at], ARGV[at + 1], 'm' .. ARGV[at], ARGV[at + 2] }) do
      fields[#fields + 1] = part
    end
  end
  return fields
end
