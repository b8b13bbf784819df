-- Take what is due: bury what expired, take back lost leases, wake what waited.
-- ARGV: retention, limit, lease (ms, of a claim that does not tell its own), told (the time that this worker was
-- answered by its pass before; 0 where this is its first), slept (how long ago that was by the worker's own clock, ms).
-- Returns {taken, expired, lost, escalations to ring, batch ids to ring, the time now, by how much (ms) the clock was
-- set back since the last pass of any worker}.
local limit, lease_ms, told, slept = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local rings, expired, lost = { escalation = {}, batch = {} }, 0, {}

-- The lease ran out: the worker may have called, so the fan is unsure and the attempt counts.
local function take_back(rec)
  if rec.calling ~= '' then set_doubt(rec, rec.calling) end
  take_off(rec, true)
  free_slot(rec.holder, rec.appid)
  rec.attempts = redis.call('HINCRBY', record_key(rec.id), 'attempts', 1)
  redis.call('HINCRBY', record_key(rec.id), 'fence', 1)
  lost[#lost + 1] = rec.id
  queue(rec)
  table.insert(rings[rec.lane], rec.id)
end

-- Its deadline passed while the fan is unsure: to read back does not wait for a long lane.
local function end_unsure(rec)
  if rec.status == 'waiting' then queue(rec) else enter_lane(rec) end
  table.insert(rings.escalation, rec.id)
  redis.call('ZADD', BASE .. 'due', NOW + RING_AGAIN_MS, rec.id)
end

local set_back = look_at_clock(told, slept, lease_ms)
walk_back(limit, lease_ms)
local due = redis.call('ZRANGEBYSCORE', BASE .. 'due', '-inf', NOW, 'WITHSCORES', 'LIMIT', 0, limit)
for i = 1, #due, 2 do
  local id, rec = due[i], load(due[i])
  if not rec or FINAL[rec.status] then
    redis.call('ZREM', BASE .. 'due', id)
  elseif rec.status == 'calling' then
    if has_run_out(id, tonumber(due[i + 1]), lease_ms) then take_back(rec) end
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
return { #due / 2, expired, lost, rings.escalation, rings.batch, string.format('%.0f', NOW), set_back }
