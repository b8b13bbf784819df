-- Who stands first in the lanes where the first was not taken for a while: a killed worker takes its doorbells with
-- it, and slots stop drawing when their turn is over. ARGV: retention, limit, then what says for whom this worker has
-- hands: worker, the accounts that it leaves to others ("|wx1|wx2|", or *), how many slots its accounts share (0: one
-- has them all), how many accounts it serves.
-- Returns {escalations, batch ids}.
local limit, worker, leaves, slots = tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
-- Most accounts that are looked at, in the order of their turns, and how many of them closely.
local SEEN, LOOKED_AT = 1000, 100

local rings, looked_at = { escalation = {}, batch = {} }, 0
local most = slots > 0 and share_of(slots, tonumber(ARGV[6]))

local function look(appid)
  local free = limit - #rings.escalation - #rings.batch
  if most then
    local may_hold = account_of(appid).hung and 1 or most
    free = math.min(free, may_hold - tonumber(redis.call('HGET', slots_key(worker), appid) or 0))
  end
  if free < 1 then return end
  local ids = redis.call('ZRANGE', lane_key(appid), 0, free - 1, 'WITHSCORES')
  -- Who has no record was left too: a claim clears it away.
  local since = ids[1] and redis.call('HGET', record_key(ids[1]), 'updated_at') or 0
  if NOW - past(since) < RING_AGAIN_MS then return end
  for i = 1, #ids, 2 do
    table.insert(tonumber(ids[i + 1]) < BATCHES_BEGIN and rings.escalation or rings.batch, ids[i])
  end
end

for _, appid in ipairs(redis.call('ZRANGE', TURNS, 0, SEEN - 1)) do
  if looked_at == LOOKED_AT then break end
  if not (is_among(appid, leaves) and is_another_free(appid, worker)) then
    looked_at = looked_at + 1
    look(appid)
  end
end
return { rings.escalation, rings.batch }
