-- Whom a request may ask now, by presence and capacity, counted across all workers.
-- What is known of an account's agents is in its hash; `keys.py` lists the fields.

-- Where nobody can tell who is online, an agent found offline is left in peace for so long.
local MARK_MS = 60 * 1000
-- The list calls an agent online and a call answers 65415: the agent lied. It is not asked for FIRST_LIE_MS, after each
-- further lie for LIE_MS, whatever later readings say. Until a call succeeds, the list drops the agent, or it serves
-- fewer fans than before, it is a suspect: one request at a time asks it, and has SUSPECT_MS for that. No request asks
-- two suspects.
local FIRST_LIE_MS, LIE_MS, SUSPECT_MS = 10 * 1000, 60 * 1000, 15 * 1000

-- What a request waits for, nearest to release first; what only a reading could tell, and who may not
-- exist at all, is shown as offline.
local NEARNESS = { agent_full = 3, paused = 2, agent_offline = 1, unread = 1, unmet = 1 }
local SHOWN = { unread = 'agent_offline', unmet = 'agent_offline' }

-- Who was sent ahead of a room asks an agent found offline before it went; nobody else does.
local function asks_before(rec)
  if rec.reason == '' then return 0 end
  return redis.call('HGET', door_key(room_of(rec)), 'ahead') == rec.id and rec.updated_at or 0
end

-- `lie:<agent>` is "<until> <times> <is_asked>": until when the list is not believed, how often in a row a call
-- contradicted it, and 1 while a request finds out whether that still holds.
local function lie_field(kf_account) return 'lie:' .. kf_account end
local function read_lie(lie)
  local until_ms, times, is_asked = string.match(lie or '', '^(%d+) (%d+) (%d)$')
  return tonumber(until_ms or 0), tonumber(times or 0), is_asked == '1'
end

-- Whether the list is not believed yet; a time further away than any that is written is over.
local function stands(until_ms) return until_ms > NOW and until_ms <= NOW + LIE_MS end

local function write_lie(account, kf_account, until_ms, times, is_asked)
  local lie = string.format('%.0f %d %d', until_ms, times, is_asked)
  redis.call('HSET', account.key, lie_field(kf_account), lie, 'lied', NOW)
end

-- WeChat said just now that `kf_account` is not online. Those who asked at the same time say it once.
local function note_offline(account, kf_account)
  local v = redis.call('HMGET', account.key, 'on:' .. kf_account, lie_field(kf_account))
  redis.call('HSET', account.key, 'off:' .. kf_account, NOW)
  local until_ms, times, is_asked = read_lie(v[2])
  local is_against_list = v[1] and account.is_fresh
  if not is_against_list or (stands(until_ms) and not is_asked) then return end
  write_lie(account, kf_account, NOW + (times == 0 and FIRST_LIE_MS or LIE_MS), times + 1, 0)
end

-- A call gave `kf_account` a fan.
local function forget_lie(account, kf_account)
  if account.lied then redis.call('HDEL', account.key, lie_field(kf_account)) end
end

-- A suspect is about to be asked: nobody else asks it meanwhile.
local function hold_suspect(account, kf_account)
  if not account.lied then return end
  local until_ms, times = read_lie(redis.call('HGET', account.key, lie_field(kf_account)))
  if times > 0 then write_lie(account, kf_account, NOW + SUSPECT_MS, times, 1) end
end

-- The call to `kf_account` is over. Where it was a suspect and nothing was learnt of it (the fan is served by another
-- agent, WeChat is busy, no call was made), the next request may ask it at once. A call that began before it was a
-- suspect does the same, so that now and then two ask it.
local function let_suspect_go(account, kf_account)
  if not account.lied or kf_account == '' then return end
  local _, times, is_asked = read_lie(redis.call('HGET', account.key, lie_field(kf_account)))
  if is_asked then write_lie(account, kf_account, NOW, times, 0) end
end

-- Whether one of those `visited` in this delivery was a suspect before.
local function has_asked_suspect(account, visited)
  if not account.lied then return false end
  for kf_account in pairs(visited) do
    local _, times = read_lie(redis.call('HGET', account.key, lie_field(kf_account)))
    if times > 1 then return true end
  end
  return false
end

-- Why an agent cannot be asked, whatever its capacity; nil when it can. Where nobody can tell, one found
-- offline before `since` is asked all the same.
local function why_out(account, is_paused, is_on, offline_at, lie, since)
  if is_paused then return 'paused' end
  offline_at = offline_at and past(offline_at)
  if account.is_fresh then
    if not is_on and not offline_at then return 'unmet' end
    if not is_on or (offline_at and offline_at >= account.began) then return 'agent_offline' end
    if lie and stands((read_lie(lie))) then return 'agent_offline' end
  elseif offline_at then
    if not account.is_blind then return 'unread' end
    if NOW - offline_at < MARK_MS and offline_at >= since then return 'agent_offline' end
  end
end

-- How many fans more an agent who can be asked may be given; 0 comes with a reason.
local function spare_beside(account, kf_account, capacity, sessions)
  if capacity == 0 then return math.huge end
  if not (account.is_fresh or account.is_blind) then return 0, 'unread' end
  local spare = capacity - (tells_sessions(account) and sessions or 0)
  if spare > 0 then spare = spare - unseen_sessions(account, kf_account) end
  if spare <= 0 then return 0, 'agent_full' end
  return spare
end

-- How many fans more one agent may be given; 0 comes with a reason. A suspect may be given one, and is told as such.
local function spare_of(account, kf_account, since)
  local v = redis.call('HMGET', account.key, 'pause:' .. kf_account, 'on:' .. kf_account, 'off:' .. kf_account,
    lie_field(kf_account))
  local why = why_out(account, v[1], v[2], tonumber(v[3]), v[4], since)
  if why then return 0, why end
  local spare, reason = spare_beside(account, kf_account, capacity_of(account, kf_account), tonumber(v[2] or 0))
  local is_suspect = v[4] and account.is_fresh
  return is_suspect and math.min(spare, 1) or spare, reason, is_suspect
end

-- Everybody who is online, with capacity and sessions as the reading told, and why who cannot be asked.
local function online_of(account)
  if account.online then return account.online end
  local fields, known, own = redis.call('HGETALL', account.key), {}, {}
  for i = 1, #fields, 2 do known[fields[i]] = fields[i + 1] end
  for name, number in string.gmatch(account.capacity, ' (%S+) (%d+)') do own[name] = tonumber(number) end
  account.online = {}
  for kf_account in string.gmatch(known.online or '', '[^|]+') do
    local capacity = own[kf_account] or tonumber(string.match(account.capacity, '^%d+'))
    local sessions = tonumber(known['on:' .. kf_account] or 0)
    table.insert(account.online, { kf_account = kf_account, capacity = capacity, sessions = sessions,
      most = capacity == 0 and math.huge or capacity - sessions,
      is_suspect = known[lie_field(kf_account)] ~= nil,
      why = why_out(account, known['pause:' .. kf_account], true, tonumber(known['off:' .. kf_account]),
        known[lie_field(kf_account)], 0) })
  end
  return account.online
end

-- Who of `any` goes first: who may be given most, or serves fewest where nothing limits them; ties by name. Suspects
-- come last, and once the list was wrong about somebody, those come first who serve a fan and so are surely there.
local function goes_before(one, other)
  if one.is_suspect ~= other.is_suspect then return not one.is_suspect end
  if one.is_serving ~= other.is_serving then return one.is_serving end
  if one.most ~= other.most then return one.most > other.most end
  if one.most == math.huge and one.sessions ~= other.sessions then return one.sessions < other.sessions end
  return one.kf_account < other.kf_account
end

-- Whether `any` is through for a request that was told a code nobody knows: by so many agents, or by all who are online.
local MOST_UNKNOWN = 3
local function is_through(account, out)
  if not string.find(out, '?', 1, true) then return false end
  local is_given_up, count, left = {}, 0, 0
  for each in string.gmatch(out, '[^|?]+@[^|]+') do is_given_up[each], count = true, count + 1 end
  for _, one in ipairs(online_of(account)) do
    if not is_given_up[one.kf_account] then left = left + 1 end
  end
  return count >= MOST_UNKNOWN or (left == 0 and #online_of(account) > 0)
end

-- Who `any` is now, or nil; `tell` hears why of each who cannot be asked. The list is taken in the order of what
-- each can have at most, so that few have to be counted; that nobody was found holds for the whole script.
local function whoever(account, is_out, is_list_wrong, may_ask_suspect, tell)
  if not account.is_fresh then return tell(account.is_blind and 'agent_offline' or 'unread') end
  if account.nobody_for then return tell(account.nobody_for) end
  local heard = 'agent_offline'
  local function note(why)
    if NEARNESS[why] > NEARNESS[heard] then heard = why end
    tell(why)
  end
  note('agent_offline')
  local candidates, best = {}, nil
  for _, one in ipairs(online_of(account)) do
    if one.why then
      note(one.why)
    elseif not (is_out[one.kf_account] or (one.is_suspect and not may_ask_suspect)) then
      one.is_serving = is_list_wrong and one.sessions > 0
      table.insert(candidates, one)
    end
  end
  table.sort(candidates, goes_before)
  for _, one in ipairs(candidates) do
    if best and goes_before(best, one) then break end
    local unseen = one.most > 0 and unseen_sessions(account, one.kf_account) or 0
    local counted = { kf_account = one.kf_account, most = one.most - unseen, sessions = one.sessions + unseen,
      is_suspect = one.is_suspect, is_serving = one.is_serving }
    if counted.most <= 0 then
      note('agent_full')
    elseif not best or goes_before(counted, best) then
      best = counted
    end
  end
  if not best and next(is_out) == nil and may_ask_suspect then account.nobody_for = heard end
  return best and best.kf_account
end

-- The agent to ask: the first target who can be given a fan. A fallback is asked only when a reading says that it
-- is online, or nobody can tell; one that may not exist only when nobody else is left, and by one
-- request at a time, since the list of who is online does not tell the wrong from the offline.
-- Who was `visited` in this delivery, in vain, is not visited again.
-- Returns the agent, '', false, and whether the call has to be counted in any case; else '', what the request
-- waits for ('' when every target is wrong), and whether a reading may help.
local function choose(account, targets, out, visited, since)
  local is_out, is_visited, reason, is_unread, unmet = {}, {}, '', false, nil
  for each in string.gmatch(out, '[^|]+') do is_out[each] = true end
  for each in string.gmatch(visited, '[^|]+') do is_visited[each], is_out[each] = true, true end
  local may_ask_suspect = not has_asked_suspect(account, is_visited)
  local function note(why)
    is_unread = is_unread or why == 'unread'
    if NEARNESS[why] > (NEARNESS[reason] or 0) then reason = SHOWN[why] or why end
  end
  local is_first = true
  for target in string.gmatch(targets, '[^|]+') do
    if is_visited[target] then
      note('agent_offline')
    elseif not is_out[target] then
      if not (is_first or account.is_fresh or account.is_blind) then
        note('unread')
      elseif target == 'any' and account.is_fresh and is_through(account, out) then
        -- Nobody else is asked: where no other target is left, the request fails with that code.
      elseif target == 'any' then
        local found = whoever(account, is_out, next(is_visited) ~= nil, may_ask_suspect, note)
        if found then return found, '', false, true end
      else
        local spare, why, is_suspect = spare_of(account, target, since)
        if is_suspect and spare > 0 and not may_ask_suspect then spare, why = 0, 'agent_offline' end
        if spare > 0 then return target, '', false, false end
        if why == 'unmet' then unmet = unmet or target end
        note(why)
      end
    end
    is_first = false
  end
  if unmet and not is_unread and unseen_sessions(account, unmet) == 0 then return unmet, '', false, true end
  return '', reason, is_unread
end
