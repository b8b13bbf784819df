-- Take accounts whose agents somebody waits for, to read who is online. ARGV: retention, limit, how long until the
-- next reading of the same account (ms), the accounts that this worker leaves to others ("|wx1|wx2|", or *), worker.
-- Taking one moves its next reading away, so that one worker in the whole fleet reads it.
-- Returns the server's time in ms, and the accounts.
local again_at = NOW + tonumber(ARGV[3])
-- Most accounts that one pass looks at, and how many of them closely; those that nobody waits for any more go.
local SEEN, LOOKED_AT = 1000, 100
local leaves, taken, looked_at = ARGV[4], {}, 0

local function look(appid)
  local is_wanted = redis.call('EXISTS', BASE .. 'wanted:' .. appid) == 1
  if is_wanted or redis.call('EXISTS', BASE .. 'rooms:' .. appid) == 1 then
    redis.call('ZADD', BASE .. 'watch', again_at, appid)
    if is_wanted or not why_shut(account_of(appid), '') then taken[#taken + 1] = appid end
  else
    redis.call('ZREM', BASE .. 'watch', appid)
  end
end

for _, appid in ipairs(redis.call('ZRANGEBYSCORE', BASE .. 'watch', '-inf', NOW, 'LIMIT', 0, SEEN)) do
  if #taken == tonumber(ARGV[2]) or looked_at == LOOKED_AT then break end
  if not is_among(appid, leaves) then
    looked_at = looked_at + 1
    look(appid)
  elseif not is_another_free(appid, ARGV[5]) then -- nobody reads it now, and others stand behind it
    redis.call('ZADD', BASE .. 'watch', again_at, appid)
  end
end
return { string.format('%.0f', NOW), taken }
