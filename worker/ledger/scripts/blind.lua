-- Nobody can tell who is online. ARGV: retention, appid, why ("errcode errmsg"), how long until the next try (ms).
-- Rooms then wake by their own times. Returns 1 when this is news.
local appid = ARGV[2]
local key = account_key(appid)
local next_at = NOW + tonumber(ARGV[4])
local is_news = redis.call('HSET', key, 'blind', ARGV[3])
redis.call('HSET', key, 'next', next_at)
redis.call('ZADD', BASE .. 'watch', 'XX', next_at, appid)
redis.call('DEL', BASE .. 'wanted:' .. appid)
if is_news == 1 then stir_account(appid) end -- those who waited for the reading alone
return is_news
