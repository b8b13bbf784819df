-- Write down who is online. ARGV: retention, appid, when the reading began (ms), how long until the next one (ms),
-- how long this one is trusted (ms; so much longer where the next one is later), then name and accepted_case of each
-- online agent.
-- Rooms wake as soon as anybody is online: each look finds out for whom there is room.
-- Returns how many agents came online since the reading before.
local appid, began = ARGV[2], tonumber(ARGV[3])
local FIRST, n = 7, tonumber(ARGV[6])
-- Where nobody was online for so long, it is enough to look now and then.
local LONG_EMPTY_MS, EMPTY_MS = 3600 * 1000, 60 * 1000

local key = account_key(appid)
local fields = redis.call('HGETALL', key)
local known = {}
for i = 1, #fields, 2 do known[fields[i]] = fields[i + 1] end
if began < tonumber(known.began or 0) then return 0 end

local names, came = {}, 0
for i = FIRST, FIRST + 2 * n - 1, 2 do
  local kf_account = ARGV[i]
  names[#names + 1] = kf_account
  if not known['on:' .. kf_account] then came = came + 1 end
  redis.call('HSET', key, 'on:' .. kf_account, ARGV[i + 1])
  if tonumber(known['off:' .. kf_account] or began) < began then redis.call('HDEL', key, 'off:' .. kf_account) end
  known['on:' .. kf_account] = nil
  redis.call('ZREMRANGEBYSCORE', given_key(appid, kf_account), '-inf', string.format('(%.0f', began - LAG_MS))
end
for name in pairs(known) do
  local gone = string.match(name, '^on:(.*)')
  if gone then
    redis.call('HDEL', key, name)
    redis.call('HSETNX', key, 'off:' .. gone, began)
  end
end

for i = FIRST + 2 * n, #ARGV do redis.call('HSETNX', key, 'off:' .. ARGV[i], 0) end

local empty_since = #names == 0 and tonumber(known.empty_since or began)
local next_at, longer_ms = began + tonumber(ARGV[4]), tonumber(ARGV[5]) - tonumber(ARGV[4])
if empty_since and began - empty_since >= LONG_EMPTY_MS then next_at = math.max(next_at, began + EMPTY_MS) end
redis.call('HSET', key, 'began', string.format('%.0f', began), 'fresh', next_at + longer_ms, 'next', next_at,
  'online', table.concat(names, '|'))
redis.call('HDEL', key, 'blind', 'empty_since')
if empty_since then redis.call('HSET', key, 'empty_since', empty_since) end
redis.call('ZADD', BASE .. 'watch', 'XX', next_at, appid)
redis.call('DEL', BASE .. 'wanted:' .. appid)
if #names > 0 then stir_account(appid) end
return came
