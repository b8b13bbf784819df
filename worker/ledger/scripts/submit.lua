-- Write wishes, one after the other: each is a new request, or joins the fan's live one, or was heard before.
-- ARGV: retention, how long a key is kept at least (ms); then for each wish: id, appid ('' = the only one known),
--       openid, targets, lane, ttl_ms, key, digest ('' without a key), metadata.
-- Returns for each wish {how, id, status}, or {'refused', why, detail}.
local KEY_MS = tonumber(ARGV[2])
local FIRST_WISH, WISH_ARGUMENTS = 3, 9
-- An id that joined stands for the request it joined, for as long as a lost reply is sent again.
local JOINED_MS = 3600 * 1000

local function joined_key(wish) return BASE .. 'joined:' .. wish.id end
local function key_name(wish) return BASE .. 'key:' .. wish.appid .. ':' .. wish.key end

-- What `known_account` says, asked once for all wishes that name the same.
local accounts = {}
local function account_named(appid)
  if not accounts[appid] then accounts[appid] = { known_account(appid) } end
  return accounts[appid][1], accounts[appid][2]
end

-- The request that came of this very wish, when it is sent again because the reply was lost.
local function heard_before(wish)
  if redis.call('EXISTS', joined_key(wish), record_key(wish.id)) == 0 then return nil end
  return load(redis.call('GET', joined_key(wish)) or wish.id)
end

-- The answer that a used key has; nil when it is free.
local function answer_of_key(wish)
  local used = redis.call('GET', key_name(wish))
  if not used then return nil end
  local id, digest = string.match(used, '^(%S+) (%S+)$')
  if digest ~= wish.digest then return { 'refused', 'key_reused', id } end
  local rec = load(id)
  return { 'repeated', id, rec and rec.status or 'expired' }
end

local function keep_key(wish, rec)
  if wish.key == '' then return end
  local kept_until = math.max(NOW + KEY_MS, rec.deadline_at)
  redis.call('SET', key_name(wish), rec.id .. ' ' .. wish.digest, 'PXAT', string.format('%.0f', kept_until))
  keep_until(rec, kept_until)
end

local function join(wish, live)
  live.deadline_at = math.max(live.deadline_at, wish.deadline_at)
  redis.call('HSET', record_key(live.id), 'deadline_at', live.deadline_at)
  redis.call('HDEL', record_key(live.id), 'cancel')
  live.cancel = nil
  if wish.lane == 'escalation' and live.lane == 'batch' then
    live.lane = wish.lane
    if live.status == 'queued' then
      redis.call('ZREM', index_key('queued', '', 'batch'), live.id)
      redis.call('ZADD', index_key('queued', '', 'escalation'), live.submitted_at, live.id)
      redis.call('ZADD', BASE .. 'due', live.deadline_at, live.id)
    end
    redis.call('HSET', record_key(live.id), 'lane', wish.lane)
    redis.call('ZADD', room_key(room_of(live)), 'XX', order_of(live), live.id)
  end
  if live.status == 'queued' then enter_lane(live) end -- its lane, its deadline or its cancel may be another
  if live.status == 'waiting' then
    local wake_at = tonumber(redis.call('HGET', record_key(live.id), 'next_attempt_at') or live.deadline_at)
    redis.call('ZADD', BASE .. 'due', math.min(wake_at, live.deadline_at), live.id)
  end
  keep_own_key(live)
  keep_key(wish, live)
  redis.call('SET', joined_key(wish), live.id, 'PX', JOINED_MS)
  return { 'joined', live.id, live.status }
end

-- The wish becomes the record. Its lane comes first: where an access list of an older release forbids that, nothing is
-- written.
local function write(wish)
  enter_lane(wish)
  change_state(wish, 'queued', '', 'appid', wish.appid, 'openid', wish.openid, 'targets', wish.targets,
    'lane', wish.lane, 'submitted_at', NOW, 'deadline_at', wish.deadline_at)
  if wish.key ~= '' then redis.call('HSET', record_key(wish.id), 'key', wish.key) end
  if wish.metadata ~= '' then redis.call('HSET', record_key(wish.id), 'metadata', wish.metadata) end
  redis.call('SET', fan_key(wish), wish.id)
  redis.call('ZADD', BASE .. 'due', wish.deadline_at, wish.id)
  keep_key(wish, wish)
  return { 'new', wish.id, 'queued' }
end

local function submit(wish)
  local appid, refused = account_named(wish.appid)
  if not appid then return refused end
  wish.appid = appid
  local mine = heard_before(wish)
  if mine then
    if mine.openid ~= wish.openid or mine.appid ~= appid then return { 'refused', 'id_taken', wish.id } end
    return { 'repeated', mine.id, mine.status }
  end
  local answer = wish.key ~= '' and answer_of_key(wish)
  if answer then return answer end
  local newest = redis.call('GET', fan_key(wish))
  local live = newest and load(newest)
  if live and not FINAL[live.status] then return join(wish, live) end -- one live request per fan
  return write(wish)
end

local answers = {}
for at = FIRST_WISH, #ARGV, WISH_ARGUMENTS do
  answers[#answers + 1] = submit({ id = ARGV[at], appid = ARGV[at + 1], openid = ARGV[at + 2],
    targets = ARGV[at + 3], lane = ARGV[at + 4], deadline_at = NOW + tonumber(ARGV[at + 5]), key = ARGV[at + 6],
    digest = ARGV[at + 7], metadata = ARGV[at + 8], status = '', reason = '', submitted_at = NOW })
end
return answers
