-- What is known of an account, and whether its calls may go. An operator pauses it, or WeChat refuses its
-- calls, which holds it: then one request probes when the time is over, and the others wait for that.

-- A probe that brings no answer gives way to another after so long.
local PROBE_MS = 30 * 1000
-- That nobody could tell who is online is true for so long after the next try was due.
local BLIND_MS = 60 * 1000

local seen = {}

-- The account as it stands, read once a script.
local function account_of(appid)
  if seen[appid] then return seen[appid] end
  local v = redis.call('HMGET', account_key(appid), 'paused', 'hold', 'began', 'fresh', 'next', 'blind', 'capacity',
    'lied')
  local account = { appid = appid, key = account_key(appid), paused = v[1], began = tonumber(v[3] or 0),
    is_fresh = NOW < tonumber(v[4] or 0), is_blind = v[6] and NOW < tonumber(v[5] or 0) + BLIND_MS,
    capacity = v[7] or '0', lied = v[8] }
  if v[2] then
    local ends, reason, strikes, probe = string.match(v[2], '^(%d+) (%S+) (%d+) (%S+)$')
    account.hold = { ends = tonumber(ends), reason = reason, strikes = strikes, probe = probe }
  end
  seen[appid] = account
  return account
end

-- Hold the account until then; `strikes` is how often in a row it was refused, `probe` who finds out ('-': nobody).
local function write_hold(account, ends, reason, strikes, probe)
  account.hold = { ends = ends, reason = reason, strikes = strikes, probe = probe }
  redis.call('HSET', account.key, 'hold', string.format('%.0f %s %s %s', ends, reason, strikes, probe))
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
