-- Let those rooms go whose time has come. ARGV: retention, limit (ids), how long a room rests without
-- presence (ms).
-- A shut room sends one ahead; an open one as many as its agents can be given, escalations of all rooms first.
-- Returns {1 when more may be due, escalations to ring, batch ids to ring}.
local limit, rest_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
-- Most rooms that one pass looks at, and most ids that one look sends.
local ROOMS, IDS = 200, 50
-- Most of a room that a new reason is written on; those behind get theirs when they come to the front.
local RESTATED = 100
-- Most dead ids that one look clears away: a release that knows no rooms leaves them.
local DEAD = 100
-- Where one was sent ahead, the room is looked at again after so long.
local AHEAD_MS = 2000
-- A call of the one sent ahead that takes longer keeps nobody else, and who got through longer ago proves nothing.
local SLOW_MS = 5000
-- A room behind a closed gate is looked at after so long, should the gate's opening go unnoticed.
local GATE_MS = 60 * 1000

local rings = { escalation = {}, batch = {} }
-- Requests sent out, and records written besides: a pass is full when they reach the limit.
local sent, restated = 0, 0
local function is_full() return sent + restated >= limit end

-- What each agent can be given yet in this pass: who is queued does not count for the agent, so it is
-- taken off here.
local spare = {}

local function spare_in_pass(account, kf_account, count)
  local key = given_key(account.appid, kf_account)
  if not spare[key] then
    local left, why = count()
    spare[key] = { left = why == 'unmet' and 1 or left, why = why }
  end
  return spare[key]
end

-- What a room's agents can be given (enough for one look), each one's part, first targets first, and what the room
-- waits for where that is nothing.
local function spare_in(account, targets)
  local sum, parts, reason = 0, {}, ''
  local function add(part)
    local is_nearer = part.left == 0 and (NEARNESS[part.why] or 0) > (NEARNESS[reason] or 0)
    if is_nearer then reason = SHOWN[part.why] or part.why end
    for _, other in ipairs(parts) do
      if other == part then return end -- `any` names the others again
    end
    if part.left > 0 then sum, parts[#parts + 1] = sum + part.left, part end
  end
  local is_first = true
  for target in string.gmatch(targets, '[^|]+') do
    if not (is_first or account.is_fresh or account.is_blind) then
      add({ left = 0, why = 'unread' }) -- as `choose` has it: else a probe would be sent that asks nobody
    elseif target ~= 'any' then
      add(spare_in_pass(account, target, function() return spare_of(account, target, math.huge) end))
    elseif not account.is_fresh then
      add({ left = 0, why = account.is_blind and 'agent_offline' or 'unread' })
    else
      add({ left = 0, why = 'agent_offline' })
      for _, one in ipairs(online_of(account)) do
        if sum >= IDS then break end
        add(spare_in_pass(account, one.kf_account, function()
          if one.why then return 0, one.why end
          local left, why = spare_beside(account, one.kf_account, one.capacity, one.sessions)
          return one.is_suspect and math.min(left, 1) or left, why
        end))
      end
    end
    if sum >= IDS then break end
    is_first = false
  end
  return sum, parts, reason
end

local function take_from(parts, count)
  for _, part in ipairs(parts) do
    local taken = math.min(part.left, count)
    part.left, part.why, count = part.left - taken, part.why or 'agent_full', count - taken
  end
end

-- The room waits for something else now: say so of those who stand first.
local function restate(room, reason)
  for _, id in ipairs(redis.call('ZRANGE', room_key(room), 0, RESTATED - 1)) do
    local rec = load(id)
    if rec and rec.status == 'waiting' and rec.reason ~= reason then
      change_state(rec, 'waiting', reason)
      restated = restated + 1
    end
  end
  redis.call('HSET', door_key(room), 'reason', reason)
  redis.call('EXPIRE', door_key(room), DOOR_SECONDS)
end

-- Whether the one sent ahead is still on its way, and not in a slower lane than who stands first now.
local function is_on_its_way(id, lane)
  local rec = id and load(id)
  if not rec or (lane == 'escalation' and rec.lane == 'batch') then return false end
  return rec.status == 'queued' or (rec.status == 'calling' and NOW - past(rec.updated_at) < SLOW_MS)
end

-- The lane of who stands first, or nil when the room is empty.
local function first_lane(room)
  for _ = 1, DEAD do
    local head = redis.call('ZRANGE', room_key(room), 0, 0, 'WITHSCORES')
    if not head[1] then return nil end
    local rec = load(head[1])
    if rec and rec.status == 'waiting' then return tonumber(head[2]) >= BATCHES and 'batch' or 'escalation' end
    redis.call('ZREM', room_key(room), head[1])
  end
end

-- Send up to `most` of one lane, the first first; returns how many, and the id of the last.
local function send(room, lane, most)
  local count, last = 0, nil
  for _, id in ipairs(redis.call('ZRANGE', room_key(room), 0, most - 1)) do
    local rec = load(id)
    if not rec or rec.status ~= 'waiting' then
      redis.call('ZREM', room_key(room), id)
    elseif rec.lane ~= lane then
      redis.call('ZADD', room_key(room), order_of(rec), id)
      break
    elseif NOW < rec.deadline_at or doubt_of(rec) then
      queue(rec)
      table.insert(rings[lane], id)
      count, last = count + 1, id
    else
      finish(rec, 'expired', rec.reason)
    end
  end
  sent = sent + count
  return count, last
end

local function send_many(room, lane, sum, parts)
  local count = send(room, lane, math.min(sum, IDS))
  take_from(parts, count)
  -- Who was let out takes no place before the claim: with few places, the next ones wait for a reading.
  if count == sum or (sum < math.huge and is_full()) then return NOW + rest_ms end
end

local function send_ahead(room, lane, account, parts)
  local count, ahead = send(room, lane, 1)
  if count == 0 then return nil end
  send_probe(account, ahead)
  take_from(parts, 1)
  redis.call('HSET', door_key(room), 'ahead', ahead)
  redis.call('EXPIRE', door_key(room), DOOR_SECONDS)
  return NOW + AHEAD_MS
end

-- Whether a door that opened `at` says enough to send many: somebody got through just now, or a reading tells.
local function still_holds(account, at)
  if account.is_fresh or account.is_blind or NOW - past(at) < SLOW_MS then return true end
  watch(account.appid)
  return false
end

-- Look into one room; returns when to look again, or nil for at once.
local function look(room)
  local appid, targets = string.match(room, '^([^:]+):(.*)$')
  local lane = first_lane(room)
  if not lane then return NOW end
  local account = account_of(appid)
  local hold = account.hold
  if account.paused then return NOW + GATE_MS end
  if hold and hold.ends > NOW then return hold.ends + (redis.call('HGET', door_key(room), 'probed') or 0) end
  local door = redis.call('HMGET', door_key(room), 'open', 'ahead', 'wait', 'reason')
  local sum, parts, reason = spare_in(account, targets)
  if sum == 0 then
    watch(appid)
    if reason == 'agent_offline' then redis.call('HDEL', door_key(room), 'open') end
    if reason ~= '' and reason ~= door[4] then restate(room, reason) end
    return NOW + tonumber(door[3] or rest_ms)
  end
  if door[1] and not hold and still_holds(account, tonumber(door[1])) then return send_many(room, lane, sum, parts) end
  if not hold and is_on_its_way(door[2], lane) then return NOW + AHEAD_MS end
  return send_ahead(room, lane, account, parts)
end

-- A room that has more to send goes on once the others had their turn.
local function wake_last(room)
  local head = redis.call('ZRANGE', room_key(room), 0, 0, 'WITHSCORES')
  if head[1] then redis.call('ZADD', BASE .. 'rooms', NOW - (tonumber(head[2]) < BATCHES and BATCHES or 0), room) end
end

local function look_into_next()
  local room = redis.call('ZRANGEBYSCORE', BASE .. 'rooms', '-inf', NOW, 'LIMIT', 0, 1)[1]
  if not room then return false end
  local again_at = look(room)
  if redis.call('ZCARD', room_key(room)) == 0 then
    close_room(room)
  elseif again_at then
    redis.call('ZADD', BASE .. 'rooms', again_at, room)
  else
    wake_last(room)
  end
  return true
end

local unfinished = redis.call('HGETALL', BASE .. 'stirring')
if unfinished[1] then stir_account(unfinished[1], unfinished[2]) end
local looked = 0
while not is_full() and looked < ROOMS and look_into_next() do looked = looked + 1 end
return { (is_full() or looked == ROOMS or unfinished[1]) and 1 or 0, rings.escalation, rings.batch }
