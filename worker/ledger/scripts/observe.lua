-- Write down who is online. ARGV: retention, appid, when the reading began (ms), how long until the next one (ms),
-- how long this one is trusted (ms; so much longer where the next one is later), then name and accepted_case of each
-- online agent.
-- Rooms wake as soon as anybody is online: each look finds out for whom there is something to spare.
-- Returns how many agents came online since the reading before.
-- Should the clock have been set back since it began, it counts as begun now.
local appid, began = ARGV[2], math.min(tonumber(ARGV[3]), NOW)
local FIRST = 6
-- Where nobody was online for so long, it is enough to look now and then.
local LONG_EMPTY_MS, EMPTY_MS = 3600 * 1000, 60 * 1000

local account = account_of(appid)
if began < account.began then return 0 end
local key, fields, known = account.key, redis.call('HGETALL', account.key), {}
for i = 1, #fields, 2 do known[fields[i]] = fields[i + 1] end

local names, is_online, has_suspects, came = {}, {}, false, 0
for i = FIRST, #ARGV, 2 do
  local kf_account = ARGV[i]
  local before = tonumber(known['on:' .. kf_account])
  names[#names + 1], is_online[kf_account] = kf_account, true
  -- It was said to be offline by a call, and serves fewer now: perhaps it takes fans again.
  if known['lie:' .. kf_account] and before and tonumber(ARGV[i + 1]) < before then
    redis.call('HDEL', key, 'lie:' .. kf_account)
    known['lie:' .. kf_account] = nil
  end
  if not known['on:' .. kf_account] then came = came + 1 end
  redis.call('HSET', key, 'on:' .. kf_account, ARGV[i + 1])
  if past(known['off:' .. kf_account] or began) < began then redis.call('HDEL', key, 'off:' .. kf_account) end
  known['on:' .. kf_account] = nil
  forget_seen(account, kf_account, began)
end
for name in pairs(known) do
  local kind, kf_account = string.match(name, '^(%w+):(.*)')
  if kind == 'on' then -- it is online no more
    redis.call('HDEL', key, name)
    if past(known['off:' .. kf_account]) == 0 then redis.call('HSET', key, 'off:' .. kf_account, began) end
  elseif kind == 'lie' and is_online[kf_account] then
    has_suspects = true
  elseif kind == 'lie' then -- the list agrees with the call
    redis.call('HDEL', key, name)
  end
end

local empty_since = past(known.empty_since)
empty_since = #names == 0 and (empty_since > 0 and empty_since or began)
local next_at, longer_ms = began + tonumber(ARGV[4]), tonumber(ARGV[5]) - tonumber(ARGV[4])
if empty_since and began - empty_since >= LONG_EMPTY_MS then next_at = math.max(next_at, began + EMPTY_MS) end
redis.call('HSET', key, 'began', string.format('%.0f', began), 'fresh', next_at + longer_ms, 'next', next_at,
  'tried', string.format('%.0f', began), 'online', table.concat(names, '|'))
redis.call('HDEL', key, 'blind', 'empty_since')
if known.lied and not has_suspects then redis.call('HDEL', key, 'lied') end
if empty_since then redis.call('HSET', key, 'empty_since', empty_since) end
redis.call('ZADD', BASE .. 'watch', 'XX', next_at, appid)
redis.call('DEL', BASE .. 'wanted:' .. appid)
if #names > 0 then stir_account(appid) end
return came
