-- Take what is due: bury what expired, take back lost leases, wake what waited, ring what is queued.
-- ARGV: retention, limit, 1 when escalations may be rung, 1 when batches may be rung.
-- A queued id is rung only while its lane is short, and again and again, since a killed worker takes the
-- doorbells it has with it; in a long lane it is looked at again after its age, a minute at most.
-- Returns {taken, expired, lost, escalations to ring, batch ids to ring}.
local limit = tonumber(ARGV[2])
local may_ring = { escalation = ARGV[3] == '1', batch = ARGV[4] == '1' }
local RING_LATEST_MS = 60000
local rings, expired, lost = { escalation = {}, batch = {} }, 0, {}

-- A deadline that passed while the fan is unsure does not wait for a long lane.
local function ring(rec)
  local again_ms = RING_AGAIN_MS
  local lane = NOW >= rec.deadline_at and 'escalation' or rec.lane
  if may_ring[lane] then
    table.insert(rings[lane], rec.id)
  else
    again_ms = math.min(math.max(RING_AGAIN_MS, NOW - rec.updated_at), RING_LATEST_MS)
  end
  redis.call('ZADD', BASE .. 'due', ring_at(rec, NOW + again_ms), rec.id)
end

-- The lease ran out: the worker may have called, so the fan is unsure and the attempt counts.
local function take_back(rec)
  if rec.calling ~= '' then set_doubt(rec, rec.calling) end
  take_off(rec, true)
  redis.call('HINCRBY', record_key(rec.id), 'attempts', 1)
  redis.call('HINCRBY', record_key(rec.id), 'fence', 1)
  lost[#lost + 1] = rec.id
  queue(rec, NOW)
  ring(rec)
end

local due = redis.call('ZRANGEBYSCORE', BASE .. 'due', '-inf', NOW, 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  local rec = load(id)
  if not rec or FINAL[rec.status] then
    redis.call('ZREM', BASE .. 'due', id)
  elseif rec.status == 'calling' then
    take_back(rec)
  elseif NOW >= rec.deadline_at and not doubt_of(rec) then
    finish(rec, 'expired', rec.reason)
    expired = expired + 1
  else
    if rec.status == 'waiting' then queue(rec, NOW) end
    ring(rec)
  end
end
return { #due, expired, lost, rings.escalation, rings.batch }
