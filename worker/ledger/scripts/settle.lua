-- Write what became of a claim, and take the next request in the same round trip.
-- ARGV: retention, id, fence, status, reason, holds (what waits with it: request, room, account or machine), wait_ms,
--       doubt, served_by, attempts, calls, strikes, crashes, out, because, hanging_ms (for how long the account is held
--       should this call be one too many that hung; 0 when it did not), hung_ms (how long it took), worker, mark (with
--       which the worker steps back, see `machines.lua`; or ''), n, then n times (slot, call, message), then what
--       claim_next takes (nothing: take none).
-- Returns {written, stirred, claimed}: `written` is the status that it has now, or 'lost' when the claim was not ours
-- any more; `stirred` is 1 when others may go now.
-- A settle sent again finds its fence on a record that is not calling: it was written, and that is fine.
local id, fence, status, reason, holds = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local wait_ms, doubt, served_by, attempts, calls = tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local strikes, crashes, out, because = ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local hanging_ms, hung_ms = tonumber(ARGV[16]), tonumber(ARGV[17])
local worker, mark, n = ARGV[18], ARGV[19], tonumber(ARGV[20])
local FIRST_ATTEMPT = 21
local next_argument = FIRST_ATTEMPT + 3 * n
local stirred = 0

-- Whether WeChat answered for this account: a worker of ours that cannot call, or gave up, tells nothing.
local ENDS = { created = true, already_served = true, failed = true, waiting = true }
local NO_ANSWER = { transient = true, token = true, gave_up = true, internal_error = true, unconfirmed = true }
-- So many calls of an account that hung in a row hold it, and what is said of it then.
local MOST_HUNG = 5
local HANGS = '- its calls hang: ' .. MOST_HUNG .. ' in a row took more than a second and left the fan unsure'
local HELD = { account = true, machine = true }
local function is_answer() return not HELD[holds] and ENDS[status] and not NO_ANSWER[reason] end

-- A held account answers again: this claim was its probe; or it is held as transient (its calls hang, or no machine had
-- a way there), and this call was answered.
local function end_hold(rec)
  local account = account_of(rec.appid)
  local hold = account.hold
  if not hold or not (hold.probe == id or (hold.reason == 'transient' and is_answered(n, FIRST_ATTEMPT))) then return end
  redis.call('HDEL', account.key, 'hold', 'held_at', 'because')
  account.hold = nil
  open_gate(rec.appid)
  stirred = 1
end

-- Counts the calls of an account that hung in a row. Returns until when it is held for that, if it is: from then on one
-- request at a time finds out whether its calls still hang.
local function hold_hanging(rec)
  local account = account_of(rec.appid)
  if hanging_ms == 0 then
    if is_answered(n, FIRST_ATTEMPT) then note_answer(account) end
    return nil
  end
  -- Another call may have been answered since this one began: an agent, or this machine, hangs, and not the account.
  if past(account.answered) + ANSWERED_MS > NOW - hung_ms then return nil end
  account.hung = redis.call('HINCRBY', account.key, 'hung', 1)
  local is_probe = account.hold and account.hold.probe == id
  if account.hung < MOST_HUNG and not is_probe then return nil end
  local ends = hold_account(account, id, NOW + hanging_ms, 'transient', strikes, HANGS)
  -- Whoever waits for other agents probes before: it may be an agent who hangs.
  redis.call('HSET', door_key(room_of(rec)), 'probed', strikes)
  redis.call('EXPIRE', door_key(room_of(rec)), DOOR_SECONDS)
  return ends + strikes
end

local function wait(rec, held_until)
  if HELD[holds] then
    local ends = hold_account(account_of(rec.appid), id, NOW + wait_ms, reason, strikes, because)
    return enter_room(rec, reason, ends)
  end
  if held_until then return enter_room(rec, reason, held_until) end
  if holds == 'room' and not stands_apart(out ~= '' and out or rec.out) then
    return enter_room(rec, reason, NOW + wait_ms, strikes)
  end
  if tell_room(rec, false) then stirred = 1 end
  wait_alone(rec, reason, NOW + wait_ms)
  if crashes ~= '0' then redis.call('HSET', record_key(id), 'crashes', crashes) end
end

-- What the calls taught, as fields of the record.
local function learned(rec)
  local fields = attempt_fields(n, FIRST_ATTEMPT)
  local function set(name, value, nothing)
    if value ~= nothing then fields[#fields + 1], fields[#fields + 2] = name, value end
  end
  set('attempts', attempts, '0')
  set('calls', calls, '0')
  set('out', out, '')
  set('served_by', served_by, '')
  set('because', because, '')
  if because == '' and rec.reason ~= '' then redis.call('HDEL', record_key(id), 'because') end
  return fields
end

-- What this machine cannot do, another one may: the request goes back to its lane when one is free; else the account is
-- held.
local function is_left_to_others(rec)
  if holds ~= 'machine' then return false end
  if mark ~= '' then
    step_back(worker, mark)
    keep_marks(worker)
  end
  return is_another_free(rec.appid, worker)
end

local function write(rec)
  free_slot(rec.holder, rec.appid)
  learn(rec, doubt, served_by)
  local fields = learned(rec)
  rec.attempts = attempts
  take_off(rec, served_by == rec.calling or doubt_of(rec) == rec.calling)
  if is_answer() then end_hold(rec) end
  local held_until = hold_hanging(rec)
  if status == 'created' then forget_lie(account_of(rec.appid), served_by) end
  let_suspect_go(account_of(rec.appid), rec.calling)
  local is_left = is_left_to_others(rec)
  if is_left and reason == 'unconfirmed' then status = 'queued' end -- another one may read the fan back
  if rec.cancel and (status == 'waiting' or status == 'failed' or status == 'expired') then
    if not doubt_of(rec) or reason == 'unconfirmed' then
      status, reason = 'cancelled', status == 'failed' and reason ~= 'unconfirmed' and '' or reason
    elseif crashes == '0' then
      status = 'queued' -- read back first; after a crash of ours, once its back-off is over
    end
  end
  if (status == 'cancelled' and not rec.cancel) or (status == 'expired' and NOW < rec.deadline_at) then
    status = 'queued' -- joined since the worker looked: the newer wish stands
  end
  if is_left and status == 'waiting' then status = 'queued' end
  if is_left and status == 'queued' then stirred = 1 end
  if FINAL[status] then
    if tell_room(rec, status == 'created') then stirred = 1 end
    return finish(rec, status, reason, unpack(fields))
  end
  if #fields > 0 then redis.call('HSET', record_key(id), unpack(fields)) end
  if status == 'queued' then return queue(rec, NOW) end
  return wait(rec, held_until)
end

local rec, written = load(id), 'lost'
if rec and rec.fence == fence then
  if rec.status == 'calling' then write(rec) end
  written = rec.status
end
if #ARGV < next_argument then return { written, stirred } end
return { written, stirred, claim_next(next_argument) }
