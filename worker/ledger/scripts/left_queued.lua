-- Who stands in each lane, the oldest first, where the oldest was not taken for a while: a killed worker takes its
-- doorbells with it, and slots stop drawing when their turn is over. ARGV: retention, limit, the accounts that this
-- worker leaves to others ("|wx1|wx2|", or *), worker: who serves these rings for them.
-- Returns {escalations, batch ids}.
local limit, leaves, worker = tonumber(ARGV[2]), ARGV[3], ARGV[4]
-- Most of a lane that are looked at where some are left to others.
local LOOKED_AT = 1000

local function is_left(id)
  local appid = redis.call('HGET', record_key(id), 'appid')
  return appid and is_among(appid, leaves) and is_another_free(appid, worker)
end

local function left_in(lane)
  local ids = redis.call('ZRANGE', index_key('queued', '', lane), 0, (leaves == '' and limit or LOOKED_AT) - 1)
  local since = ids[1] and redis.call('HGET', record_key(ids[1]), 'updated_at')
  if not ids[1] or NOW - past(since) < RING_AGAIN_MS then return {} end
  if leaves == '' then return ids end
  local own = {}
  for _, id in ipairs(ids) do
    if #own == limit then break end
    if not is_left(id) then own[#own + 1] = id end
  end
  return own
end

return { left_in('escalation'), left_in('batch') }
