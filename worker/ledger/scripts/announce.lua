-- A worker says that it lives, and which accounts it serves.
-- ARGV: retention, schema, worker, what it says of itself (JSON), then appid and capacity of each account: what an
-- agent may serve (0: no limit), then names with capacities of their own, "20 anna@shop 50 ".
-- Returns the ledger's schema; nothing is written when that is newer than the worker's.
local FORGET_WORKER_MS = 3600 * 1000
-- No request lives longer, so an account that was silent for so long has none.
local FORGET_ACCOUNT_MS = 48 * 3600 * 1000

local mine, schema = tonumber(ARGV[2]), tonumber(redis.call('GET', BASE .. 'schema') or 0)
if schema > mine then return schema end
if schema < mine then redis.call('SET', BASE .. 'schema', mine) end

local now = string.format('%.0f', NOW)
local function forget(name, before)
  local said = redis.call('HGETALL', BASE .. name)
  for i = 1, #said, 2 do
    local at = tonumber(string.match(said[i + 1], '^%d+'))
    if at and at < before then redis.call('HDEL', BASE .. name, said[i]) end
  end
end

redis.call('HSET', BASE .. 'workers', ARGV[3], now .. ' ' .. ARGV[4])
for i = 5, #ARGV, 2 do
  redis.call('HSET', BASE .. 'accounts', ARGV[i], now)
  redis.call('HSET', account_key(ARGV[i]), 'capacity', ARGV[i + 1])
end
forget('workers', NOW - FORGET_WORKER_MS)
forget('accounts', NOW - FORGET_ACCOUNT_MS)
return mine
