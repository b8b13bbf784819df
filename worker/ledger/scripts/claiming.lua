-- A worker takes the next request, of the account whose turn it is. The agent about to be called is in the ledger
-- before the call, so that a worker that dies leaves behind whom the fan may have been given to. Who cannot be asked
-- for now is held.

-- Most requests that one claim buries or holds on its way, and most accounts that it passes by.
local PASSED_OVER, PASSED_BY = 20, 200

-- Why an account is held that no worker has credentials for.
local NOBODY_SERVES = '- no worker that lives has the credentials of this account: start one'
-- A reading that somebody waits for takes about so long, ms.
local READING_MS = 1000
-- A machine that probes right now may take so long, ms.
local SOONEST_MS = 5000

-- Whether somebody stands in the room of `rec` who goes before it: where agents can take only so many, a newcomer
-- does not take what gets free before them.
local function comes_after_others(account, rec)
  if string.match(account.capacity, '^0 ?$') or (rec.reason ~= '' and rec.reason ~= 'transient') then return false end
  local head = redis.call('ZRANGE', room_key(room_of(rec)), 0, 0, 'WITHSCORES')
  return head[1] and tonumber(head[2]) < order_of(rec)
end

-- Whom to ask for `rec`: `calling` is '' when the fan must be read back first; `strikes` is how often in
-- a row it, or who probed before it, waited for `reason`.
-- Returns nil when nobody can be asked, so that it was held, and whether a reading would help.
local function find_agent(rec, doubt, rest_ms)
  local account = account_of(rec.appid)
  local shut_for = why_shut(account, rec.id)
  if shut_for then
    enter_room(rec, shut_for, NOW + rest_ms)
    return nil
  end
  local hold, since = account.hold, asks_before(rec)
  local found = { reason = hold and hold.reason or rec.reason, strikes = hold and hold.strikes or 0 }
  if doubt then
    local is_target = string.find('|' .. rec.targets .. '|', '|' .. doubt .. '|', 1, true)
    found.calling = is_target and spare_of(account, doubt, since) > 0 and doubt or ''
    if found.calling ~= '' then
      give(account, doubt, rec.id)
      hold_suspect(account, doubt)
    end
    send_probe(account, rec.id)
    return found
  end
  local reason, is_unread, is_counted
  found.calling, reason, is_unread, is_counted = choose(account, rec.targets, rec.out, '', since)
  if found.calling ~= '' and comes_after_others(account, rec) then
    found.calling, reason = '', 'agent_full'
  end
  if found.calling == '' and reason ~= '' then
    if not stands_apart(rec.out) then
      enter_room(rec, reason, NOW + rest_ms)
    else
      wait_alone(rec, reason, NOW + (is_unread and READING_MS or rest_ms)) -- a reading wakes rooms only
    end
    return nil, is_unread
  end
  if found.calling ~= '' then
    give(account, found.calling, rec.id, is_counted)
    hold_suspect(account, found.calling)
    send_probe(account, rec.id) -- who makes no call finds nothing out
  end
  if found.reason == 'agent_offline' then
    found.strikes = redis.call('HGET', door_key(room_of(rec)), 'strikes') or 0
  end
  return found
end

-- `rec` is of an account that this machine leaves to others. Returns whether it stays queued for them; where nobody
-- else gets through, the account is held, and `rec` with it.
local function leave(rec, worker, rest_ms)
  local account = account_of(rec.appid)
  local shut_for = why_shut(account, rec.id)
  if shut_for then
    enter_room(rec, shut_for, NOW + rest_ms)
    return false
  end
  if is_another_free(rec.appid, worker) then return true end
  local since, until_ms, strikes, reason, because =
    string.match(mark_of(worker, rec.appid) or '', '^(%d+) (%d+) (%d+) (%S+) (.*)$')
  if not until_ms then
    -- It is stepping back right now; else it has no credentials of the account, and a neighbouring release may.
    if redis.call('ZSCORE', BASE .. 'serving:' .. rec.appid, worker) then return true end
    if NOW - past(redis.call('HGET', BASE .. 'accounts', rec.appid)) < SILENT_MS then return true end
    until_ms, strikes, reason, because = NOW + rest_ms, 0, 'token', NOBODY_SERVES
  end
  if since and past(since) == 0 then until_ms = NOW end -- the clock was set back: its length is not known
  local ends = math.max(tonumber(until_ms), NOW + SOONEST_MS)
  enter_room(rec, reason, hold_account(account, rec.id, ends, reason, strikes, because))
  return false
end

-- Returns the claim; or nil, and whether a reading of who is online would help.
local function take(rec, holder, lease_ms, rest_ms)
  local doubt = doubt_of(rec)
  local found = { calling = rec.calling, reason = rec.reason, strikes = 0 }
  if rec.status == 'queued' then
    local is_over = NOW >= rec.deadline_at
    if is_over and not doubt then
      finish(rec, 'expired', rec.reason)
      return nil
    end
    found.calling = ''
    if not (is_over or rec.cancel) then
      local is_unread
      found, is_unread = find_agent(rec, doubt, rest_ms)
      if not found then return nil, is_unread end
    end
    rec.calling = found.calling
    rec.fence = rec.fence + 1
    move(rec, 'calling', rec.reason, 'fence', rec.fence, 'holder', holder, 'lease', lease_ms,
      'calling', rec.calling)
  elseif rec.status ~= 'calling' or rec.holder ~= holder then
    return nil -- somebody else has it, or it is not its turn: a doubled doorbell harms nothing
  else
    redis.call('HSET', record_key(rec.id), 'lease', lease_ms)
  end
  redis.call('ZADD', BASE .. 'due', NOW + lease_ms, rec.id)
  return { rec.id, rec.fence, rec.appid, rec.openid, rec.targets, rec.out, rec.calling, doubt or '',
    found.reason, rec.attempts, rec.calls, found.strikes, rec.crashes, rec.cancel and 1 or 0,
    rec.deadline_at - NOW }
end

-- The claim of this holder whose reply was lost, if there is one.
local function claim_of(holder)
  for _, id in ipairs(redis.call('ZRANGE', BASE .. 'index:calling', 0, -1)) do
    if redis.call('HGET', record_key(id), 'holder') == holder then return load(id) end
  end
end

-- ARGV[first..]: holder, lease in ms, 1 for a claim sent again, how long a room rests without presence (ms), worker,
-- the accounts that it leaves to others ("|wx1|wx2|", or *), how many slots its accounts share (0: one has them all),
-- how many accounts it serves, 1 to take somebody who is tried again before a first try.
-- Returns 1 when somebody waits for a reading of who is online, 1 when nobody was claimed though more may be queued,
-- and the claim or nothing.
local function claim_next(first)
  local holder, lease_ms, rest_ms = ARGV[first], tonumber(ARGV[first + 1]), tonumber(ARGV[first + 3])
  local worker, leaves, slots = ARGV[first + 4], ARGV[first + 5], tonumber(ARGV[first + 6])
  local served, prefers_tried = tonumber(ARGV[first + 7]), ARGV[first + 8] == '1'
  local again = ARGV[first + 2] == '1' and claim_of(holder)
  if again then return { 0, 0, take(again, holder, lease_ms, rest_ms) } end
  local is_unread, is_left, passed_by, passed_over = 0, {}, 0, 0

  local function leaves_account(appid)
    if is_left[appid] == nil then is_left[appid] = is_among(appid, leaves) and is_another_free(appid, worker) end
    return is_left[appid]
  end

  local function give_back(appid)
    if slots > 0 then free_slot(holder, appid) end
  end

  -- Where nobody else gets through, a machine that stepped back still reads back for who is over, or taken back.
  local function try(rec)
    if is_among(rec.appid, leaves) and NOW < rec.deadline_at and not rec.cancel then
      is_left[rec.appid] = leave(rec, worker, rest_ms)
      return nil
    end
    local taken, needs_reading = take(rec, holder, lease_ms, rest_ms)
    if needs_reading then is_unread = 1 end
    return taken
  end

  local function take_turn(appid, turn, is_alone)
    local id, behind = first_in_lane(appid, turn >= TURNS_OF_BATCHES, prefers_tried)
    if not id then
      redis.call('ZREM', TURNS, appid)
      return nil
    end
    local rec = load(id)
    if not rec or rec.status ~= 'queued' then -- an older release moved it, or whatever hand
      -- Its lane is not known: as an escalation, so that the account's turn is worked out anew.
      leave_lane({ id = id, appid = appid, lane = 'escalation' })
      return nil
    end
    rec.behind, rec.had_turn = behind, not is_alone
    return try(rec)
  end

  while passed_by < PASSED_BY do
    local next_turns = redis.call('ZRANGE', TURNS, passed_by, passed_by + 1, 'WITHSCORES')
    local appid = next_turns[1]
    if not appid then break end
    if leaves_account(appid) or not gets_slot(holder, appid, slots, served) then
      passed_by = passed_by + 1
    elseif passed_over == PASSED_OVER then
      give_back(appid)
      return { is_unread, 1 }
    else
      local taken = take_turn(appid, tonumber(next_turns[2]), passed_by == 0 and not next_turns[3])
      if taken then return { is_unread, 0, taken } end
      give_back(appid)
      passed_over = passed_over + 1
    end
  end
  return { is_unread, 0 }
end
