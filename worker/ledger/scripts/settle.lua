-- Write what became of a claim, and take the next request in the same round trip.
-- ARGV: retention, id, fence, status, reason, holds (what waits with it: request, room or account), wait_ms,
--       doubt, served_by, attempts, calls, strikes, crashes, out, because, n, then n times (slot, call, message),
--       then what claim_next takes (nothing: take none).
-- Returns {written, stirred, claimed}: `written` is 'ok', or 'lost' when the claim was not ours any more;
-- `stirred` is 1 when others may go now.
-- A settle sent again finds its fence on a record that is not calling: it was written, and that is fine.
local id, fence, status, reason = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local n = tonumber(ARGV[16])
local next_argument = 17 + 3 * n
local stirred = 0

-- The account's calls are refused: hold all of them, until one probes. Returns until when.
local function hold_account(rec, wait_ms)
  local key = account_key(rec.appid)
  local ends, _, strikes, probe = string.match(redis.call('HGET', key, 'hold') or '', '^(%d+) (%S+) (%d+) (%S+)$')
  if ends and probe ~= id and tonumber(ends) > NOW then return tonumber(ends) end
  ends = NOW + wait_ms
  redis.call('HSET', key, 'hold', string.format('%.0f %s %s -', ends, reason, ARGV[12]), 'because', ARGV[15])
  return ends
end

-- Whether WeChat answered for this account: a worker of ours that cannot call, or gave up, tells nothing.
local ENDS = { created = true, already_served = true, failed = true, waiting = true }
local NO_ANSWER = { transient = true, token = true, gave_up = true, internal_error = true, unconfirmed = true }
local function is_answer() return ARGV[6] ~= 'account' and ENDS[status] and not NO_ANSWER[reason] end

-- This claim was the probe of a held account, and the account answers again.
local function end_hold(rec)
  local key = account_key(rec.appid)
  local hold = redis.call('HGET', key, 'hold')
  if hold and string.match(hold, '%S+$') == id then
    redis.call('HDEL', key, 'hold', 'because')
    open_gate(rec.appid)
    stirred = 1
  end
end

local function wait(rec)
  local wait_ms, holds = tonumber(ARGV[7]), ARGV[6]
  if holds == 'account' then return enter_room(rec, reason, hold_account(rec, wait_ms)) end
  if holds == 'room' then return enter_room(rec, reason, NOW + wait_ms, ARGV[12]) end
  local key = record_key(id)
  tell_room(rec, false)
  move(rec, 'waiting', reason)
  redis.call('HDEL', key, 'calling', 'holder', 'crashes')
  redis.call('HSET', key, 'next_attempt_at', NOW + wait_ms)
  if ARGV[13] ~= '0' then redis.call('HSET', key, 'crashes', ARGV[13]) end
  redis.call('ZADD', BASE .. 'due', math.min(NOW + wait_ms, rec.deadline_at), id)
end

local function write(rec)
  local key = record_key(id)
  learn(rec, ARGV[8], ARGV[9])
  keep_attempts(id, n, 17)
  if ARGV[10] ~= '0' then redis.call('HSET', key, 'attempts', ARGV[10]) end
  if ARGV[11] ~= '0' then redis.call('HSET', key, 'calls', ARGV[11]) end
  if ARGV[14] ~= '' then redis.call('HSET', key, 'out', ARGV[14]) end
  if ARGV[9] ~= '' then redis.call('HSET', key, 'served_by', ARGV[9]) end
  if ARGV[15] ~= '' then
    redis.call('HSET', key, 'because', ARGV[15])
  elseif rec.reason ~= '' then
    redis.call('HDEL', key, 'because')
  end
  take_off(rec, ARGV[9] == rec.calling or doubt_of(rec) == rec.calling)
  if is_answer() then end_hold(rec) end
  if rec.cancel and (status == 'waiting' or status == 'failed' or status == 'expired') then
    if not doubt_of(rec) or reason == 'unconfirmed' then
      status, reason = 'cancelled', status == 'failed' and reason ~= 'unconfirmed' and '' or reason
    elseif ARGV[13] == '0' then
      return queue(rec, NOW) -- read back first; after a crash of ours, once its back-off is over
    end
  end
  if (status == 'cancelled' and not rec.cancel) or (status == 'expired' and NOW < rec.deadline_at) then
    return queue(rec, NOW) -- joined since the worker looked: the newer wish stands
  end
  if FINAL[status] then
    if tell_room(rec, status == 'created') then stirred = 1 end
    return finish(rec, status, reason)
  end
  if status == 'queued' then return queue(rec, NOW) end
  return wait(rec)
end

local rec, written = load(id), 'ok'
if not rec or rec.fence ~= fence then
  written = 'lost'
elseif rec.status == 'calling' then
  write(rec)
end
if #ARGV < next_argument then return { written, stirred } end
return { written, stirred, claim_next(next_argument) }
