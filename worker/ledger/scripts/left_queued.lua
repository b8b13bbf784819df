-- Who stands in each lane, the oldest first, where the oldest was not taken for a while: a killed worker takes its
-- doorbells with it, and slots stop drawing when their turn is over. ARGV: retention, limit.
-- Returns {escalations, batch ids}.
local function left_in(lane)
  local ids = redis.call('ZRANGE', index_key('queued', '', lane), 0, tonumber(ARGV[2]) - 1)
  local since = ids[1] and redis.call('HGET', record_key(ids[1]), 'updated_at')
  return ids[1] and NOW - (since or 0) >= RING_AGAIN_MS and ids or {}
end

return { left_in('escalation'), left_in('batch') }
