-- Nobody can tell who is online. ARGV: retention, appid, when the reading began (ms), why ("errcode errmsg"), how long
-- until the next try (ms).
-- Rooms then wake by their own times. Returns 1 when this is news.
local appid, began, next_at = ARGV[2], tonumber(ARGV[3]), NOW + tonumber(ARGV[5])
local account = account_of(appid)
if began < account.began then return 0 end -- a later reading told
redis.call('HSET', account.key, 'blind', ARGV[4], 'next', next_at)
redis.call('ZADD', BASE .. 'watch', 'XX', next_at, appid)
redis.call('DEL', BASE .. 'wanted:' .. appid)
if account.is_blind then return 0 end
stir_account(appid) -- those who waited for the reading alone
return 1
