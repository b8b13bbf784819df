-- Whom a request may ask now: gates, presence and room to spare, counted across all workers.
-- What is known of an account is one hash; `keys.py` lists its fields.

-- The online list may show the truth of so long ago: sessions opened before it are counted again.
local LAG_MS = 3000
-- Where nobody can tell who is online, an agent found offline is left in peace for so long.
local MARK_MS = 60 * 1000
-- Where no reading tells an agent's sessions, those that we opened count for so long.
local SESSION_MS = 30 * 60 * 1000
-- A probe of a held account that brings no answer gives way to another after so long.
local PROBE_MS = 30 * 1000
-- What `given` remembers is not needed for longer.
local GIVEN_SECONDS = 3600

local function account_key(appid) return BASE .. 'account:' .. appid end

local function account_of(appid)
  local v = redis.call('HMGET', account_key(appid), 'paused', 'hold', 'began', 'fresh', 'blind', 'capacity')
  return { appid = appid, key = account_key(appid), paused = v[1], hold = v[2], began = tonumber(v[3] or 0),
    is_fresh = NOW < tonumber(v[4] or 0), is_blind = v[5], capacity = v[6] or '0' }
end

-- Whether no call of this account may be made now.
local function is_shut(account)
  return account.paused or (account.hold and tonumber(string.match(account.hold, '^%d+')) > NOW)
end

-- Does the account let `id` through? Returns why not, or nil; for one who may probe also what the
-- account was held for, and how often in a row.
local function gate(account, id)
  if account.paused then return 'paused' end
  if not account.hold then return nil end
  local ends, reason, strikes, probe = string.match(account.hold, '^(%d+) (%S+) (%d+) (%S+)$')
  if probe ~= id and NOW < tonumber(ends) then return reason end
  return nil, reason, strikes
end

-- `id` is about to find out whether a held account answers again: the others wait for that.
local function send_probe(account, id)
  if not account.hold then return end
  local reason, strikes = string.match(account.hold, '^%d+ (%S+) (%d+)')
  account.hold = string.format('%.0f %s %s %s', NOW + PROBE_MS, reason, strikes, id)
  redis.call('HSET', account.key, 'hold', account.hold)
end

-- An agent's own capacity, else the account's; 0 is no limit.
local function capacity_of(account, kf_account)
  local _, before = string.find(account.capacity, ' ' .. kf_account .. ' ', 1, true)
  return tonumber(string.match(account.capacity, '^%d+', before and before + 1 or 1))
end

local function given_key(appid, kf_account) return BASE .. 'given:' .. appid .. ':' .. kf_account end

-- Calls under way to this agent, and sessions that the reading cannot have seen.
local function unseen_sessions(account, kf_account)
  local since = math.max(account.began - LAG_MS, NOW - SESSION_MS)
  return redis.call('ZCOUNT', given_key(account.appid, kf_account), string.format('%.0f', since), '+inf')
end

-- Who was sent ahead of a room asks an agent found offline once more: `insists(at)` says whether `rec`
-- ignores that the agent was offline `at`.
local function insistence_of(rec)
  local ahead = redis.call('HGET', door_key(room_of(rec)), 'ahead')
  return function(offline_at) return offline_at < rec.updated_at and ahead == rec.id end
end

-- How many fans an agent can take now, and how many the agent serves; 0 comes with a reason, or with
-- 'unread' where only a reading could tell, or 'unmet' where the name may be wrong. `insists(at)` ignores
-- that the agent was offline `at`.
local function room_left(account, kf_account, insists)
  local v = redis.call('HMGET', account.key, 'pause:' .. kf_account, 'on:' .. kf_account, 'off:' .. kf_account)
  local offline_at = tonumber(v[3])
  if v[1] then return 0, 'paused' end
  if account.is_fresh then
    if not v[2] and not offline_at then return 0, 'unmet' end
    if not v[2] or (offline_at and offline_at >= account.began) then return 0, 'agent_offline' end
  elseif offline_at and NOW - offline_at < MARK_MS and not insists(offline_at) then
    return 0, 'agent_offline'
  end
  local capacity = capacity_of(account, kf_account)
  if capacity == 0 then return math.huge, nil, tonumber(v[2] or 0) end
  if not (account.is_fresh or account.is_blind) then return 0, 'unread' end
  local serves = (account.is_fresh and tonumber(v[2]) or 0) + unseen_sessions(account, kf_account)
  if serves >= capacity then return 0, 'agent_full' end
  return capacity - serves, nil, serves
end

-- What each one of those who could be asked for `target` can take: calls visit(name, room, why, serves).
local function each_agent(account, target, insists, visit)
  if target ~= 'any' then
    local left, why, serves = room_left(account, target, insists)
    visit(target, left, why, serves)
  elseif not account.is_fresh then
    visit('', 0, account.is_blind and 'agent_offline' or 'unread')
  else
    visit('', 0, 'agent_offline')
    local online = redis.call('HGET', account.key, 'online') or ''
    for kf_account in string.gmatch(online, '[^|]+') do
      local left, why, serves = room_left(account, kf_account, insists)
      visit(kf_account, left, why, serves)
    end
  end
end

-- The nearest to release is what a request is said to wait for.
local NEARNESS = { agent_full = 3, paused = 2, agent_offline = 1 }

-- Who of `any` goes first: most room, or who serves fewest where nothing limits them; ties by name.
local function goes_before(one, other)
  if one.left ~= other.left then return one.left > other.left end
  if one.left == math.huge and one.serves ~= other.serves then return one.serves < other.serves end
  return one.kf_account < other.kf_account
end

-- The agent to ask: the first target with room. A fallback is asked only when a reading says that it is
-- online, or nobody can tell; one that may not exist only when nobody else is left, since the list of who is
-- online does not tell the wrong from the offline.
-- Returns the agent, nil, false, and whether `any` chose; else '', what the request waits for ('' when every
-- target is wrong), and whether a reading may help.
local function choose(account, targets, out, insists)
  local is_out, reason, is_unread, unmet = {}, '', false, nil
  for each in string.gmatch(out, '[^|]+') do is_out[each] = true end
  local function note(why)
    if why == 'unread' or why == 'unmet' then
      is_unread = is_unread or why == 'unread'
      why = 'agent_offline'
    end
    if (NEARNESS[why] or 0) > (NEARNESS[reason] or 0) then reason = why end
  end
  local is_first = true
  for target in string.gmatch(targets, '[^|]+') do
    local best
    if is_out[target] then
      best = nil
    elseif is_first or account.is_fresh or account.is_blind then
      each_agent(account, target, insists, function(kf_account, left, why, serves)
        if is_out[kf_account] then return end
        if why == 'unmet' then unmet = unmet or kf_account end
        if left == 0 then return note(why) end
        if target == 'any' and left == math.huge then serves = serves + unseen_sessions(account, kf_account) end
        local one = { kf_account = kf_account, left = left, serves = serves }
        if not best or goes_before(one, best) then best = one end
      end)
    else
      note('unread')
    end
    if best then return best.kf_account, nil, false, target == 'any' end
    is_first = false
  end
  if unmet and not is_unread then return unmet, nil, false, false end
  return '', reason, is_unread
end

-- `kf_account` is about to be asked: the call counts against the agent's room from now on.
local function give(account, kf_account, id, is_counted)
  if not (is_counted or capacity_of(account, kf_account) > 0) then return end
  local key = given_key(account.appid, kf_account)
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
