-- Take accounts whose agents somebody waits for, to read who is online. ARGV: retention, limit, how long until the
-- next reading of the same account (ms).
-- Taking one moves its next reading away, so that one worker in the whole fleet reads it.
-- Returns the server's time in ms, and the accounts.
local again_at = NOW + tonumber(ARGV[3])
-- Most accounts that one pass looks at; those that nobody waits for any more go.
local LOOKED_AT = 100
local taken = {}
for _, appid in ipairs(redis.call('ZRANGEBYSCORE', BASE .. 'watch', '-inf', NOW, 'LIMIT', 0, LOOKED_AT)) do
  if #taken == tonumber(ARGV[2]) then break end
  local is_wanted = redis.call('EXISTS', BASE .. 'wanted:' .. appid) == 1
  if is_wanted or redis.call('EXISTS', BASE .. 'rooms:' .. appid) == 1 then
    redis.call('ZADD', BASE .. 'watch', again_at, appid)
    if is_wanted or not why_shut(account_of(appid), '') then taken[#taken + 1] = appid end
  else
    redis.call('ZREM', BASE .. 'watch', appid)
  end
end
return { string.format('%.0f', NOW), taken }
