-- Machines: the worker processes that serve an account, and what one of them alone cannot do. `serving:<appid>` scores
-- each worker by its last sign of life. `stepped_back` holds "<worker> <appid>", or "<worker> *" for all that it
-- serves -> "<since> <until> <strikes> <reason> <errcode or -> <errmsg>": this worker leaves the account to others.

-- A worker that was silent for so long may be gone: three beats.
local SILENT_MS = 15 * 1000
-- What an account can be held for because no machine gets through.
local OF_MACHINES = { token = true, account_blocked = true, transient = true }

-- The mark of a worker that stepped back from `appid`, or nil.
local function mark_of(worker, appid)
  local v = redis.call('HMGET', BASE .. 'stepped_back', worker .. ' ' .. appid, worker .. ' *')
  return v[1] or v[2] or nil
end

-- Whether a worker other than this one serves the account and has not stepped back from it.
local function is_another_free(appid, worker)
  local from, to = string.format('%.0f', NOW - SILENT_MS), string.format('%.0f', NOW + SILENT_MS)
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', BASE .. 'serving:' .. appid, from, to)) do
    if each ~= worker and not mark_of(each, appid) then return true end
  end
  return false
end

-- Write down that `worker` steps back. `mark` is what it says of itself: "<scope> <age_ms> <left_ms> <strikes> <reason>
-- <errcode or -> <errmsg>", where the scope is an appid or *. Returns the scope and the age.
local function step_back(worker, mark)
  local scope, age_ms, left_ms, told = string.match(mark, '^(%S+) (%d+) (%d+) (.*)$')
  redis.call('HSET', BASE .. 'stepped_back', worker .. ' ' .. scope,
    string.format('%.0f %.0f %s', NOW - age_ms, NOW + left_ms, told))
  return scope, age_ms
end
