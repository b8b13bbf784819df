-- Bulkheads: the accounts that a worker serves share its slots. `slots:<name>` counts how many of them each account
-- holds, where the worker is <host>:<pid>:<name>; its claims are held under "<name>:<delivery>". Where one account has
-- all slots, nothing is counted.

local function slots_key(worker) return BASE .. 'slots:' .. string.match(worker, '[^:]*$') end

-- The same of who holds a claim; nil where nothing is counted.
local function slots_key_of(holder)
  local name = string.match(holder or '', '^([^:]+):')
  return name and slots_key(name)
end

-- A slot is done with a request of the account.
local function free_slot(holder, appid)
  local key = slots_key_of(holder)
  -- Below zero: the count was removed when the worker departed or was forgotten.
  if key and redis.call('HINCRBY', key, appid, -1) < 0 then redis.call('HDEL', key, appid) end
end

-- A slot takes a request of the account. Returns how many the account holds now.
local function take_slot(holder, appid) return redis.call('HINCRBY', slots_key_of(holder), appid, 1) end

-- Most of `slots` that one of the `served` accounts may hold: about twice its share among those with somebody queued,
-- seven eighths at most, and always one.
local function share_of(slots, served)
  local most = math.floor(7 * slots / 8)
  local live = math.max(1, math.min(served, redis.call('ZCARD', TURNS)))
  if most > 2 then most = math.min(most, math.max(2, math.floor(2 * slots / live))) end
  return math.max(1, most)
end
