-- Whom an agent was given by us, unseen by any reading: calls under way, and sessions too young for it.

-- The online list may show the truth of so long ago: sessions opened before it are counted again.
local LAG_MS = 3000
-- Where no reading tells an agent's sessions, the last one that did and those that we opened count for so long.
local SESSION_MS = 30 * 60 * 1000
-- What is remembered is not needed for longer.
local GIVEN_SECONDS = 3600

local function given_key(appid, kf_account) return BASE .. 'given:' .. appid .. ':' .. kf_account end

-- An agent's own capacity, else the account's; 0 is no limit.
local function capacity_of(account, kf_account)
  local _, before = string.find(account.capacity, ' ' .. kf_account .. ' ', 1, true)
  return tonumber(string.match(account.capacity, '^%d+', before and before + 1 or 1))
end

-- Whether the last reading still says something of how many fans an agent serves.
local function tells_sessions(account) return account.is_fresh or NOW - account.began < SESSION_MS end

local function unseen_sessions(account, kf_account)
  local since = tells_sessions(account) and account.began - LAG_MS or NOW - SESSION_MS
  return redis.call('ZCOUNT', given_key(account.appid, kf_account), string.format('%.0f', since), '+inf')
end

-- A reading that `began` then has seen the older ones; where a capacity must be kept without readings too,
-- they are kept for that.
local function forget_seen(account, kf_account, began)
  local before = capacity_of(account, kf_account) > 0 and NOW - SESSION_MS or began - LAG_MS
  redis.call('ZREMRANGEBYSCORE', given_key(account.appid, kf_account), '-inf', string.format('(%.0f', before))
  -- Those ahead were opened before the clock was set back, and count from now on.
  local ahead = redis.call('ZRANGEBYSCORE', given_key(account.appid, kf_account), NOW + SLACK_MS, '(+inf')
  for _, id in ipairs(ahead) do redis.call('ZADD', given_key(account.appid, kf_account), NOW, id) end
end

-- `kf_account` is about to be asked: the call counts from now on, where somebody counts.
local function give(account, kf_account, id, is_counted)
  if not (is_counted or capacity_of(account, kf_account) > 0) then return end
  local key = given_key(account.appid, kf_account)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', NOW - GIVEN_SECONDS * 1000) -- where nobody reads, nothing else does
  redis.call('ZADD', key, '+inf', id)
  redis.call('EXPIRE', key, GIVEN_SECONDS)
end

-- The call to rec.calling is over: a session, or one that may have been opened, counts until a reading
-- has seen it.
local function take_off(rec, may_be_served)
  if rec.calling == '' then return end
  local key = given_key(rec.appid, rec.calling)
  if may_be_served then redis.call('ZADD', key, 'XX', NOW, rec.id) else redis.call('ZREM', key, rec.id) end
end

-- What a call taught about the fan: '' nothing new; '-' the doubt is gone, and with it the place that it
-- took unless `served_by` was the one in doubt; else who may have the fan.
local function learn(rec, doubt, served_by)
  if doubt ~= '' and doubt ~= '-' then set_doubt(rec, doubt) end
  if doubt ~= '-' then return end
  local before = doubt_of(rec)
  if before and before ~= served_by and before ~= rec.calling then
    redis.call('ZREM', given_key(rec.appid, before), rec.id)
  end
  redis.call('DEL', doubt_key(rec))
end
