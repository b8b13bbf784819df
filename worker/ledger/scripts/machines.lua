-- Machines: the worker processes that serve an account, and what one of them alone cannot do. `serving:<appid>` scores
-- each worker by its last sign of life. `stepped_back:<worker>` keeps a mark for each account that it leaves to others:
-- the appid, or * for all -> "<since> <until> <strikes> <reason> <errcode or -> <errmsg>".

-- A worker that was silent for so long may be gone: three beats.
local SILENT_MS = 15 * 1000
-- Marks end with the worker's beats.
local MARKS_SECONDS = 3600
-- What an account can be held for because no machine gets through.
local OF_MACHINES = { token = true, account_blocked = true, transient = true }

local function marks_key(worker) return BASE .. 'stepped_back:' .. worker end
local function keep_marks(worker) redis.call('EXPIRE', marks_key(worker), MARKS_SECONDS) end

-- The mark of a worker that stepped back from `appid`, or nil.
local function mark_of(worker, appid)
  local v = redis.call('HMGET', marks_key(worker), appid, '*')
  return v[1] or v[2] or nil
end

-- Whether an account is among those that a worker leaves to others: "|wx1|wx2|", or * for all.
local function is_among(appid, leaves)
  return leaves == '*' or string.find(leaves, '|' .. appid .. '|', 1, true) ~= nil
end

-- What was found of each account, looked up once a script; marks change at its beginning only.
local free = {}

-- Whether a worker other than this one serves the account and has not stepped back from it.
local function is_another_free(appid, worker)
  if free[appid] ~= nil then return free[appid] end
  free[appid] = false
  local from, to = string.format('%.0f', NOW - SILENT_MS), string.format('%.0f', NOW + SILENT_MS)
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', BASE .. 'serving:' .. appid, from, to)) do
    if each ~= worker and not mark_of(each, appid) then
      free[appid] = true
      break
    end
  end
  return free[appid]
end

-- Write down that `worker` steps back. It tells durations and not times, since its clock is another one: "<scope> <age_ms>
-- <left_ms> <strikes> <reason> <errcode or -> <errmsg>", where the scope is an appid or *. Returns scope and age.
local function step_back(worker, mark)
  local scope, age_ms, left_ms, told = string.match(mark, '^(%S+) (%d+) (%d+) (.*)$')
  redis.call('HSET', marks_key(worker), scope, string.format('%.0f %.0f %s', NOW - age_ms, NOW + left_ms, told))
  return scope, age_ms
end
