-- What is known of an account, and whether its calls may go. An operator pauses it, or WeChat refuses its
-- calls, which holds it: then one request probes when the time is over, and the others wait for that.

-- A probe that brings no answer gives way to another after so long.
local PROBE_MS = 30 * 1000
-- That nobody could tell who is online is true for so long after the next try was due.
local BLIND_MS = 60 * 1000
-- The longest hold, where the ledger does not tell when it was set.
local LONGEST_HOLD_MS = 24 * 3600 * 1000

local seen = {}

-- Until when a hold stands; one that was set ahead of now, before the clock was set back, is over.
local function end_of_hold(ends, held_at)
  if held_at then return past(held_at) > 0 and ends or 0 end
  return ends <= NOW + LONGEST_HOLD_MS and ends or 0 -- the release before did not write `held_at`
end

-- The account as it stands, read once a script.
local function account_of(appid)
  if seen[appid] then return seen[appid] end
  local v = redis.call('HMGET', account_key(appid), 'paused', 'hold', 'began', 'fresh', 'next', 'blind', 'capacity',
    'lied', 'hung', 'held_at', 'tried', 'answered')
  local began = past(v[3])
  local account = { appid = appid, key = account_key(appid), paused = v[1], began = began,
    is_fresh = began > 0 and NOW < tonumber(v[4] or 0),
    is_blind = v[6] and NOW < next_reading(v[5], v[11]) + BLIND_MS, capacity = v[7] or '0', lied = v[8],
    hung = v[9], answered = v[12] }
  if v[2] then
    local ends, reason, strikes, probe = string.match(v[2], '^(%d+) (%S+) (%d+) (%S+)$')
    account.hold = { ends = end_of_hold(tonumber(ends), v[10]), reason = reason, strikes = strikes, probe = probe }
  end
  seen[appid] = account
  return account
end

-- Hold the account until then; `strikes` is how often in a row it was refused, `probe` who finds out ('-': nobody).
local function write_hold(account, ends, reason, strikes, probe)
  account.hold = { ends = ends, reason = reason, strikes = strikes, probe = probe }
  redis.call('HSET', account.key, 'hold', string.format('%.0f %s %s %s', ends, reason, strikes, probe), 'held_at', NOW)
end

-- Hold all of an account's calls until one probes; `id` is who found out. Returns until when.
local function hold_account(account, id, ends, reason, strikes, because)
  local hold = account.hold
  if hold and hold.probe ~= id and hold.ends > NOW then return hold.ends end
  write_hold(account, ends, reason, strikes, '-')
  redis.call('HSET', account.key, 'because', because)
  return ends
end

-- Why `id` may make no call for this account now; nil when it may.
local function why_shut(account, id)
  if account.paused then return 'paused' end
  local hold = account.hold
  if hold and hold.probe ~= id and hold.ends > NOW then return hold.reason end
end

-- `id` is about to find out whether a held account answers again.
local function send_probe(account, id)
  local hold = account.hold
  if hold then write_hold(account, NOW + PROBE_MS, hold.reason, hold.strikes, id) end
end

-- That an account answers is noted so often: the newest answer may be younger by as much.
local ANSWERED_MS = 100

-- Whether WeChat answered the last of the `n` attempts that are given from ARGV[first] on: it has a code. A lost reply,
-- or a page of some gateway, tells nothing of the account.
local function is_answered(n, first)
  return n > 0 and string.match(ARGV[first + 3 * n - 2], '^%S+ %S+ (%S+)') ~= '-'
end

-- A call of the account was answered in time.
local function note_answer(account)
  if NOW - past(account.answered) >= ANSWERED_MS then redis.call('HSET', account.key, 'answered', NOW) end
  if account.hung then
    redis.call('HDEL', account.key, 'hung')
    account.hung = nil
  end
end
