-- A worker says that it lives, which accounts it serves, and what it alone cannot do.
-- ARGV: retention, schema, worker, what it says of itself (JSON), n, then n times appid and capacity: what an agent may
-- serve (0: no limit), then names with capacities of their own, "20 anna@shop 50 "; then the marks with which it stepped
-- back (see `machines.lua`).
-- Returns {schema, is_needed, others, hurried}: `is_needed` is 1 when it stepped back from an account that nobody else
-- serves either; `others` are the accounts that it does not serve; `hurried` are the scopes whose mark somebody removed,
-- since the trouble is mended: it should probe now. Nothing is written when the ledger's schema is newer than the
-- worker's.
local FORGET_WORKER_MS = 3600 * 1000
-- A mark is in the ledger for certain after so long.
local TOLD_MS = 2000
-- No request lives longer, so an account that was silent for so long has none.
local FORGET_ACCOUNT_MS = 48 * 3600 * 1000

local mine, schema = tonumber(ARGV[2]), tonumber(redis.call('GET', BASE .. 'schema') or 0)
if schema > mine then return { schema, 0, {}, {} } end
if schema < mine then redis.call('SET', BASE .. 'schema', mine) end

local worker, FIRST_ACCOUNT = ARGV[3], 6
local FIRST_MARK = FIRST_ACCOUNT + 2 * tonumber(ARGV[5])
local now = string.format('%.0f', NOW)

-- What is kept of one worker besides.
local function forget_worker(worker)
  redis.call('DEL', marks_key(worker), slots_key(worker))
end

local function forget_account(appid) redis.call('DEL', BASE .. 'serving:' .. appid) end

local function forget(name, before, with)
  local said = redis.call('HGETALL', BASE .. name)
  for i = 1, #said, 2 do
    local at, rest = string.match(said[i + 1], '^(%d+)(.*)$')
    if at and tonumber(at) < before then
      redis.call('HDEL', BASE .. name, said[i])
      with(said[i])
    elseif at and past(at) == 0 then -- the clock was set back: whoever lives is heard of again within a beat
      redis.call('HSET', BASE .. name, said[i], string.format('%.0f', NOW - FORGET_WORKER_MS / 2) .. rest)
    end
  end
end

-- The first machine that gets through again, or a new one: where none did, one request probes at once.
local function welcome(appid)
  local account = account_of(appid)
  local hold = account.hold
  if not hold or not OF_MACHINES[hold.reason] or hold.probe ~= '-' or account.hung then return end
  write_hold(account, NOW, hold.reason, hold.strikes, '-')
  open_gate(appid)
end

redis.call('HSET', BASE .. 'workers', worker, now .. ' ' .. ARGV[4])
forget('workers', NOW - FORGET_WORKER_MS, forget_worker)
local stood, marks, hurried = {}, {}, {}
for _, scope in ipairs(redis.call('HKEYS', marks_key(worker))) do stood[scope] = true end
for i = FIRST_MARK, #ARGV do
  local scope, age_ms = step_back(worker, ARGV[i])
  if not stood[scope] and tonumber(age_ms) > TOLD_MS then hurried[#hurried + 1] = scope end
  marks[scope] = true
end
keep_marks(worker)
local function has_ended(scope) return stood[scope] and not marks[scope] end
for scope in pairs(stood) do
  if has_ended(scope) then redis.call('HDEL', marks_key(worker), scope) end
end

local is_needed, is_served = 0, {}
for i = FIRST_ACCOUNT, FIRST_MARK - 1, 2 do
  local appid = ARGV[i]
  local serving = BASE .. 'serving:' .. appid
  is_served[appid] = true
  redis.call('HSET', BASE .. 'accounts', appid, now)
  redis.call('HSET', account_key(appid), 'capacity', ARGV[i + 1])
  local is_new = math.abs(NOW - tonumber(redis.call('ZSCORE', serving, worker) or 0)) > SILENT_MS
  redis.call('ZADD', serving, now, worker)
  if is_new then
    redis.call('ZREMRANGEBYSCORE', serving, '-inf', NOW - FORGET_WORKER_MS)
    redis.call('ZREMRANGEBYSCORE', serving, NOW + SILENT_MS, '+inf') -- who lives is back with its next beat
  end
  if marks[appid] or marks['*'] then
    if is_needed == 0 and not is_another_free(appid, worker) then is_needed = 1 end
  elseif (is_new or has_ended(appid) or has_ended('*')) and not is_another_free(appid, worker) then
    welcome(appid)
  end
end

local others = {}
for _, appid in ipairs(redis.call('HKEYS', BASE .. 'accounts')) do
  if not is_served[appid] then others[#others + 1] = appid end
end
forget('accounts', NOW - FORGET_ACCOUNT_MS, forget_account)
return { mine, is_needed, others, hurried }
