-- Let those rooms go whose time has come. ARGV: retention, limit (ids), 1 when escalations may be rung, 1 when
-- batches may be rung, how long a room rests that nobody can be asked for (ms).
-- A shut room sends one ahead; an open one as many as its agents have room for, escalations of all rooms first.
-- Returns {1 when more may be due, escalations to ring, batch ids to ring}.
local limit, rest_ms = tonumber(ARGV[2]), tonumber(ARGV[5])
local may_ring = { escalation = ARGV[3] == '1', batch = ARGV[4] == '1' }
-- Most rooms that one pass looks at, and most ids that one look sends.
local ROOMS, IDS = 200, 50
-- A lane too long to be rung is looked at again after so long, and so is one sent ahead.
local LONG_LANE_MS, AHEAD_MS = 1000, 2000
-- A room behind a closed gate is looked at after so long, should the gate's opening go unnoticed.
local GATE_MS = 60 * 1000

local rings, sent = { escalation = {}, batch = {} }, 0

-- Most of a room that a new reason is written on; those behind get theirs when they come to the front.
local RESTATED = 500

local function always() return true end

-- How many fans this pass has sent to each agent: who is queued takes no place yet.
local promised = {}

-- How many fans the agents of a room can take now, each one's part of that, first targets first, and what
-- the room waits for where they can take none.
local function places(account, targets)
  local sum, parts, is_counted, reason = 0, {}, {}, ''
  for target in string.gmatch(targets, '[^|]+') do
    each_agent(account, target, always, function(kf_account, left, why)
      if why == 'unmet' then left = 1 end
      if (NEARNESS[why] or 0) > (NEARNESS[reason] or 0) then reason = why end
      local key = given_key(account.appid, kf_account)
      left = left - (promised[key] or 0)
      if left <= 0 or is_counted[key] then return end -- `any` names the others again
      is_counted[key] = true
      sum, parts[#parts + 1] = sum + left, { key = key, left = left }
    end)
    if sum == math.huge then break end
  end
  return sum, parts, reason
end

-- The room waits for something else now: say so of those who stand first.
local function restate(room, reason)
  for _, id in ipairs(redis.call('ZRANGE', room_key(room), 0, RESTATED - 1)) do
    local rec = load(id)
    if rec and rec.status == 'waiting' and rec.reason ~= reason then change_state(rec, 'waiting', reason) end
  end
  redis.call('HSET', door_key(room), 'reason', reason)
  redis.call('EXPIRE', door_key(room), DOOR_SECONDS)
end

local function promise(parts, count)
  for _, part in ipairs(parts) do
    local taken = math.min(part.left, count)
    promised[part.key], count = (promised[part.key] or 0) + taken, count - taken
  end
end

-- Whether the one sent ahead is still on its way, and not in a slower lane than who stands first now.
local function is_on_its_way(id, lane)
  local rec = id and load(id)
  if not rec or (lane == 'escalation' and rec.lane == 'batch') then return false end
  return rec.status == 'queued' or rec.status == 'calling'
end

-- Send up to `most` of one lane, the first first; returns how many, and the id of the last.
local function send(room, lane, most)
  local count, last = 0, nil
  for _, id in ipairs(redis.call('ZRANGE', room_key(room), 0, most - 1)) do
    local rec = load(id)
    if not rec or rec.status ~= 'waiting' then
      redis.call('ZREM', room_key(room), id)
    elseif rec.lane ~= lane then
      redis.call('ZADD', room_key(room), place(rec), id)
      break
    elseif NOW < rec.deadline_at or doubt_of(rec) then
      queue(rec, ring_at(rec, NOW + RING_AGAIN_MS))
      table.insert(rings[lane], id)
      count, last = count + 1, id
    else
      finish(rec, 'expired', rec.reason)
    end
  end
  sent = sent + count
  return count, last
end

-- Look into one room; returns when to look again, or nil for at once.
local function look(room)
  local appid, targets = string.match(room, '^([^:]+):(.*)$')
  local head = redis.call('ZRANGE', room_key(room), 0, 0, 'WITHSCORES')
  if not head[1] then return NOW end
  local lane = tonumber(head[2]) >= BATCHES and 'batch' or 'escalation'
  local account = account_of(appid)
  local ends = string.match(account.hold or '', '^%d+')
  if account.paused then return NOW + GATE_MS end
  if ends and tonumber(ends) > NOW then return tonumber(ends) end
  if not may_ring[lane] then return NOW + LONG_LANE_MS end
  local door = redis.call('HMGET', door_key(room), 'open', 'ahead', 'wait', 'reason')
  local left, parts, reason = places(account, targets)
  if left == 0 then
    watch(appid) -- also for those who came to wait for something else
    if reason ~= '' and reason ~= door[4] then restate(room, reason) end
    return NOW + tonumber(door[3] or rest_ms)
  end
  if not ends and door[1] then
    local count = send(room, lane, math.min(left, IDS))
    promise(parts, count)
    return count == left and NOW + rest_ms or nil
  end
  if not ends and is_on_its_way(door[2], lane) then return NOW + AHEAD_MS end
  local _, ahead = send(room, lane, 1)
  if not ahead then return nil end
  send_probe(account, ahead)
  promise(parts, 1)
  redis.call('HSET', door_key(room), 'ahead', ahead)
  redis.call('EXPIRE', door_key(room), DOOR_SECONDS)
  return NOW + AHEAD_MS
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
    stir_room(room)
  end
  return true
end

local looked = 0
while sent < limit and looked < ROOMS and look_into_next() do looked = looked + 1 end
return { (sent >= limit or looked == ROOMS) and 1 or 0, rings.escalation, rings.batch }
