-- Learn which agents an account has. ARGV: retention, appid, n, n names of agents who can serve, then the names of
-- those who cannot. Who can and is not online is offline; a name that is not here any more may be wrong.
local appid, n = ARGV[2], tonumber(ARGV[3])
local key, is_known = account_key(appid), {}
for i = 4, #ARGV do
  is_known[ARGV[i]] = true
  local may_be_away = i < 4 + n and redis.call('HEXISTS', key, 'on:' .. ARGV[i]) == 0
  if may_be_away then redis.call('HSETNX', key, 'off:' .. ARGV[i], 0) end
end
for _, field in ipairs(redis.call('HKEYS', key)) do
  local name = string.match(field, '^off:(.*)')
  if name and not is_known[name] then redis.call('HDEL', key, field) end
end
return #ARGV - 3
