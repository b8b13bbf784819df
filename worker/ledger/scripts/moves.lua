-- The moves of a request from one state to the next; each is one event.

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
  if rec.status == 'queued' then leave_lane(rec) end
  change_state(rec, status, reason, ...)
end

-- The probe of a held account ends and found nothing out: another may go at once, whichever room it stands in.
local function release_probe(rec)
  local hold = redis.call('HGET', account_key(rec.appid), 'hold')
  local held_for = hold and string.match(hold, '^%d+( %S+ %d+ )' .. rec.id .. '$')
  if not held_for then return end
  -- A producer, who cancels, may delete and add what is known of an account, and overwrite nothing.
  redis.call('HDEL', account_key(rec.appid), 'hold', 'held_at')
  redis.call('HSETNX', account_key(rec.appid), 'hold', string.format('%.0f', NOW) .. held_for .. '-')
  redis.call('HSETNX', account_key(rec.appid), 'held_at', NOW)
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
  enter_lane(rec)
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
