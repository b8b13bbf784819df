-- What every script shares: the time, the names of the structures, and a request as it stands.
-- KEYS[1] is the deployment's prefix, "{kf}:"; ARGV[1] is how long final records are kept, in ms.
-- All times are ms of the server's clock. No script re-encodes a producer's JSON.

local BASE = KEYS[1]
local RETENTION_MS = tonumber(ARGV[1])
-- About the newest million changes of state are kept.
local EVENTS = 1000000
-- A doubt outlives every request that was live when it arose: the longest life is 48 h.
local DOUBT_MS = 48 * 3600 * 1000
-- Who is queued for so long is rung again where doorbells are few, ms.
local RING_AGAIN_MS = 2000

local time = redis.call('TIME')
local NOW = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Two servers that take over from each other may differ by so much, ms: a moment so little ahead is now.
local SLACK_MS = 1000
-- The longest pause between two readings of who is online, where the ledger does not tell when it was set.
local LONGEST_PAUSE_MS = 3600 * 1000

-- When something happened, as far as that can be right. A moment ahead was written before the clock was set back: it
-- counts as long ago (0), so that nothing rests on it for longer than it was meant to.
local function past(at)
  at = tonumber(at or 0)
  return at <= NOW + SLACK_MS and at or 0
end

-- When the agents of an account may be read again, of its fields `next` and `tried`; 0 where that is not believed.
local function next_reading(next_at, tried)
  next_at = tonumber(next_at or 0)
  if tried then return past(tried) > 0 and next_at or 0 end
  return next_at <= NOW + LONGEST_PAUSE_MS and next_at or 0 -- the release before did not write `tried`
end

local function record_key(id) return BASE .. 'request:' .. id end
local function fan_key(rec) return BASE .. 'fan:' .. rec.appid .. ':' .. rec.openid end
local function account_key(appid) return BASE .. 'account:' .. appid end
local function doubt_key(rec) return BASE .. 'doubt:' .. rec.appid .. ':' .. rec.openid end

local function index_key(status, reason, lane)
  local detail = reason
  if status == 'queued' then detail = lane
  elseif status == 'calling' or status == 'created' or status == 'already_served' then detail = '' end
  if detail == '' then return BASE .. 'index:' .. status end
  return BASE .. 'index:' .. status .. ':' .. detail
end

local FINAL = { created = true, already_served = true, failed = true, expired = true, cancelled = true }

local function count(name) redis.call('HINCRBY', BASE .. 'counters', name, 1) end

local function load(id)
  local v = redis.pcall('HMGET', record_key(id), 'status', 'reason', 'lane', 'submitted_at', 'appid',
    'openid', 'deadline_at', 'fence', 'updated_at', 'cancel', 'calling', 'targets', 'kept_until', 'out',
    'attempts', 'calls', 'crashes', 'holder')
  if not (v.err or v[1]) then return nil end
  if v.err or not (v[3] and v[4] and v[5] and v[6] and v[7] and v[9] and v[12]) then -- not written by us
    count('broken_record')
    return nil
  end
  return { id = id, status = v[1], reason = v[2] or '', lane = v[3], submitted_at = v[4], appid = v[5],
    openid = v[6], deadline_at = tonumber(v[7]), fence = tonumber(v[8] or 0),
    updated_at = tonumber(v[9]), cancel = v[10], calling = v[11] or '', targets = v[12],
    kept_until = tonumber(v[13] or 0), out = v[14] or '', attempts = v[15] or 0, calls = v[16] or 0,
    crashes = v[17] or 0, holder = v[18] }
end
