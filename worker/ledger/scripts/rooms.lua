-- Rooms: where requests wait together that are held for the same thing. Within a room escalations
-- stand first, then who was submitted first. A room has one wake time; requests only have deadlines.
-- A room's door is shut; the first who gets through opens it for the rest, and an agent found offline
-- shuts it again. The door remembers: `open`, when somebody last got through; `ahead`, who was sent to
-- try; `strikes`, how many of these in a row found nobody; `wait`, what tenacity says until the next (ms);
-- `reason`, what the first are said to wait for; `probed`, how often in a row the account had been held when a call of
-- this room hung and held it.

-- What is held for agents, for which presence is read.
local FOR_AGENTS = { agent_offline = true, agent_full = true, paused = true }
-- Where in `room:<…>` batches begin.
local BATCHES = BAND
-- What a room's door remembers is kept for so long.
local DOOR_SECONDS = 3600
-- How long somebody who waits alone for an agent has its account read.
local WANTED_SECONDS = 30
-- Most rooms, about, that one script wakes; the waiting room goes on with the others.
local ROOMS_A_STIR = 1000

local function order_of(rec)
  return tonumber(rec.submitted_at) + (rec.lane == 'escalation' and 0 or BATCHES)
end

-- Wake a room now: before those whose first came later, and all batches.
local function wake_room(room)
  local head = redis.call('ZRANGE', room_key(room), 0, 0, 'WITHSCORES')
  if head[1] then redis.call('ZADD', BASE .. 'rooms', tonumber(head[2]) - BATCHES, room) end
end

-- Something changed for a whole account: wake its rooms, from `cursor` on.
local function stir_account(appid, cursor)
  local page = redis.call('SSCAN', BASE .. 'rooms:' .. appid, cursor or '0', 'COUNT', ROOMS_A_STIR)
  for _, room in ipairs(page[2]) do wake_room(room) end
  if tonumber(page[1]) == 0 then
    redis.call('HDEL', BASE .. 'stirring', appid)
  else
    redis.call('HSET', BASE .. 'stirring', appid, page[1])
  end
end

-- When the agents of this account may be read next.
local function may_read_at(appid)
  local v = redis.call('HMGET', account_key(appid), 'next', 'tried')
  return math.max(NOW, next_reading(v[1], v[2]))
end

-- Somebody waits for this account's agents: let a worker read who is online.
local function watch(appid) redis.call('ZADD', BASE .. 'watch', 'NX', may_read_at(appid), appid) end

-- Calls may be made again, and readings, which were put off while the gate was closed.
local function open_gate(appid)
  redis.call('ZADD', BASE .. 'watch', 'XX', may_read_at(appid), appid)
  stir_account(appid)
end

-- Hold `rec` in its room until `wake_at` at the latest; `strikes` is how often in a row a call found
-- nobody (nil: none was made).
local function enter_room(rec, reason, wake_at, strikes)
  local room = room_of(rec)
  local door = door_key(room)
  move(rec, 'waiting', reason)
  redis.call('HDEL', record_key(rec.id), 'next_attempt_at', 'calling', 'holder', 'lease', 'crashes')
  redis.call('ZADD', BASE .. 'due', rec.deadline_at, rec.id)
  redis.call('ZADD', room_key(room), order_of(rec), rec.id)
  redis.call('SADD', BASE .. 'rooms:' .. rec.appid, room)
  local was_ahead = redis.call('HGET', door, 'ahead') == rec.id
  local is_first = redis.call('ZADD', BASE .. 'rooms', 'NX', wake_at, room) == 1
  if was_ahead then
    redis.call('HDEL', door, 'ahead')
    redis.call('ZADD', BASE .. 'rooms', wake_at, room)
  end
  if reason == 'agent_offline' then redis.call('HDEL', door, 'open') end
  if strikes and (was_ahead or is_first) then
    redis.call('HSET', door, 'strikes', strikes, 'wait', wake_at - NOW)
    redis.call('EXPIRE', door, DOOR_SECONDS)
  end
  if FOR_AGENTS[reason] then watch(rec.appid) end
end

-- Hold `rec` alone until `wake_at` at the latest.
local function wait_alone(rec, reason, wake_at)
  move(rec, 'waiting', reason, 'next_attempt_at', wake_at)
  redis.call('HDEL', record_key(rec.id), 'calling', 'holder', 'lease', 'crashes')
  redis.call('ZADD', BASE .. 'due', math.min(wake_at, rec.deadline_at), rec.id)
  if FOR_AGENTS[reason] then
    redis.call('SET', BASE .. 'wanted:' .. rec.appid, 1, 'EX', WANTED_SECONDS)
    watch(rec.appid)
  end
end

-- Whether a request cannot ask whom its room asks: an agent answered it a code that nobody knows. Were it sent ahead, it
-- would find nobody for the others.
local function stands_apart(out) return string.find(out, '?', 1, true) ~= nil end

-- What became of one who came out of a room: a session opens it for the others, and its agent is not
-- offline any more; anything else lets the next one try. Returns whether somebody may go now.
local function tell_room(rec, is_created)
  if rec.reason == '' then return false end -- it was in none
  local room = room_of(rec)
  local door = door_key(room)
  local was_ahead = redis.call('HGET', door, 'ahead') == rec.id
  local opens = is_created and redis.call('HSET', door, 'open', NOW) == 1
  if was_ahead then redis.call('HDEL', door, 'ahead') end
  if is_created then redis.call('HDEL', door, 'strikes', 'wait') end
  if opens then
    redis.call('HDEL', account_key(rec.appid), 'off:' .. rec.calling)
    redis.call('EXPIRE', door, DOOR_SECONDS)
  end
  if was_ahead or opens then wake_room(room) end
  return was_ahead or opens
end
