-- Put into their lanes who is queued and stands in none: a ledger of an older schema has no lanes, and its producers
-- go on for a while. ARGV: retention, limit. Returns 1 when more may be left.
-- `adopting` says how far the walk over each index is; without it, the sizes tell whether there is anything to do.
local ADOPTING = BASE .. 'adopting'

local function is_complete()
  local standing = 0
  for _, appid in ipairs(redis.call('ZRANGE', TURNS, 0, -1)) do
    standing = standing + redis.call('ZCARD', lane_key(appid))
  end
  local queued = redis.call('ZCARD', index_key('queued', '', 'escalation')) +
    redis.call('ZCARD', index_key('queued', '', 'batch'))
  return queued <= standing
end

-- One page of an index, from "<submitted_at> <how many of that moment were looked at>" on.
local function walk(lane, cursor)
  local from, skipped = string.match(cursor, '^(%S+) (%d+)$')
  local page = redis.call('ZRANGEBYSCORE', index_key('queued', '', lane), from, '+inf', 'WITHSCORES',
    'LIMIT', skipped, ARGV[2])
  local last, same = from, tonumber(skipped)
  for i = 1, #page, 2 do
    local rec = load(page[i])
    if not rec or rec.status ~= 'queued' then
      redis.call('ZREM', index_key('queued', '', lane), page[i]) -- whatever hand put it there
    elseif not redis.call('ZSCORE', lane_key(rec.appid), rec.id) then
      enter_lane(rec)
    end
    same = page[i + 1] == last and same + 1 or 1
    last = page[i + 1]
  end
  if #page < 2 * tonumber(ARGV[2]) then
    redis.call('HDEL', ADOPTING, lane)
  else
    redis.call('HSET', ADOPTING, lane, last .. ' ' .. same)
  end
end

local under_way = redis.call('HGETALL', ADOPTING)
if not under_way[1] then
  if is_complete() then return 0 end
  under_way = { 'escalation', '0 0' }
  redis.call('HSET', ADOPTING, 'escalation', '0 0', 'batch', '0 0')
end
walk(under_way[1], under_way[2])
return redis.call('EXISTS', ADOPTING)
