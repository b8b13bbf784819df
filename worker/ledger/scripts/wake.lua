-- Take what is due: bury what expired, take back lost leases, wake what waited. ARGV: retention, limit.
-- Returns {taken, expired, lost, escalations to ring, batch ids to ring}.
local rings, expired, lost = { escalation = {}, batch = {} }, 0, {}

-- The lease ran out: the worker may have called, so the fan is unsure and the attempt counts.
local function take_back(rec)
  if rec.calling ~= '' then set_doubt(rec, rec.calling) end
  take_off(rec, true)
  redis.call('HINCRBY', record_key(rec.id), 'attempts', 1)
  redis.call('HINCRBY', record_key(rec.id), 'fence', 1)
  lost[#lost + 1] = rec.id
  queue(rec)
  table.insert(rings[rec.lane], rec.id)
end

-- Its deadline passed while the fan is unsure: to read back does not wait for a long lane.
local function end_unsure(rec)
  if rec.status == 'waiting' then queue(rec) end
  table.insert(rings.escalation, rec.id)
  redis.call('ZADD', BASE .. 'due', NOW + RING_AGAIN_MS, rec.id)
end

local due = redis.call('ZRANGEBYSCORE', BASE .. 'due', '-inf', NOW, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(due) do
  local rec = load(id)
  if not rec or FINAL[rec.status] then
    redis.call('ZREM', BASE .. 'due', id)
  elseif rec.status == 'calling' then
    take_back(rec)
  elseif NOW < rec.deadline_at then
    if rec.status == 'waiting' then queue(rec) else redis.call('ZADD', BASE .. 'due', rec.deadline_at, id) end
    table.insert(rings[rec.lane], rec.id)
  elseif doubt_of(rec) then
    end_unsure(rec)
  else
    finish(rec, 'expired', rec.reason)
    expired = expired + 1
  end
end
return { #due, expired, lost, rings.escalation, rings.batch }
