-- Write a new request, or join the fan's live one, or recognise a repeated key.
-- ARGV: retention, id, appid ('' = the only one known), openid, targets, lane, ttl_ms, key, digest, metadata,
--       key_ms (how long the key is kept, at least).
-- Returns {how, id, status}, or {'refused', why, detail}.
local id, appid, openid, targets, lane = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local ttl_ms, key, digest, metadata = tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10]
local key_ms = tonumber(ARGV[11])

local refused
appid, refused = known_account(appid)
if not appid then return refused end

local key_name = BASE .. 'key:' .. appid .. ':' .. key

local function keep_key(rec)
  if key == '' then return end
  local kept_until = math.max(NOW + key_ms, rec.deadline_at)
  redis.call('SET', key_name, rec.id .. ' ' .. digest, 'PXAT', string.format('%.0f', kept_until))
  keep_until(rec, kept_until)
end

-- An id that joined stands for the request it joined, for as long as a lost reply is sent again.
local JOINED_MS = 3600 * 1000
local joined_key = BASE .. 'joined:' .. id

local mine = load(redis.call('GET', joined_key) or id)
if mine then -- sent again because the reply was lost
  if mine.openid ~= openid or mine.appid ~= appid then return { 'refused', 'id_taken', id } end
  return { 'repeated', mine.id, mine.status }
end
if key ~= '' then
  local used = redis.call('GET', key_name)
  if used then
    local used_id, used_digest = string.match(used, '^(%S+) (%S+)$')
    if used_digest ~= digest then return { 'refused', 'key_reused', used_id } end
    local used_for = load(used_id)
    return { 'repeated', used_id, used_for and used_for.status or 'expired' }
  end
end

local rec = { id = id, appid = appid, openid = openid, targets = targets, lane = lane, status = '', reason = '',
  submitted_at = NOW, deadline_at = NOW + ttl_ms }
local newest = redis.call('GET', fan_key(rec))
local live = newest and load(newest)
if live and not FINAL[live.status] then -- one live request per fan: join it
  local deadline_at = math.max(live.deadline_at, rec.deadline_at)
  live.deadline_at = deadline_at
  redis.call('HSET', record_key(live.id), 'deadline_at', deadline_at)
  redis.call('HDEL', record_key(live.id), 'cancel')
  if lane == 'escalation' and live.lane == 'batch' then
    if live.status == 'queued' then
      redis.call('ZREM', index_key('queued', '', 'batch'), live.id)
      redis.call('ZADD', index_key('queued', '', 'escalation'), live.submitted_at, live.id)
      redis.call('ZADD', BASE .. 'due', ring_at(live, NOW + RING_AGAIN_MS), live.id)
    end
    redis.call('HSET', record_key(live.id), 'lane', lane)
    live.lane = lane
    redis.call('ZADD', room_key(room_of(live)), 'XX', order_of(live), live.id)
  end
  if live.status == 'waiting' then
    local wake_at = tonumber(redis.call('HGET', record_key(live.id), 'next_attempt_at') or deadline_at)
    redis.call('ZADD', BASE .. 'due', math.min(wake_at, deadline_at), live.id)
  end
  keep_own_key(live)
  keep_key(live)
  redis.call('SET', joined_key, live.id, 'PX', JOINED_MS)
  return { 'joined', live.id, live.status }
end

redis.call('HSET', record_key(id), 'appid', appid, 'openid', openid, 'targets', targets, 'lane', lane,
  'submitted_at', NOW, 'deadline_at', rec.deadline_at)
if key ~= '' then redis.call('HSET', record_key(id), 'key', key) end
if metadata ~= '' then redis.call('HSET', record_key(id), 'metadata', metadata) end
move(rec, 'queued', '')
redis.call('SET', fan_key(rec), id)
redis.call('ZADD', BASE .. 'due', ring_at(rec, NOW + RING_AGAIN_MS), id)
keep_key(rec)
return { 'new', id, 'queued' }
