-- Nobody can tell who is online. ARGV: retention, appid, when the reading began (ms), why ("errcode errmsg"), how long
-- until the next try (ms), worker, mark (with which the worker steps back, see `machines.lua`; '' where the trouble is
-- not its own).
-- Where another worker gets through, that one reads the account, and nothing is said of it. Rooms of an account that
-- nobody can tell of wake by their own times. Returns 1 when this is news.
local appid, began, next_at, worker, mark = ARGV[2], tonumber(ARGV[3]), NOW + tonumber(ARGV[5]), ARGV[6], ARGV[7]
local account = account_of(appid)
if mark ~= '' then
  step_back(worker, mark)
  keep_marks(worker)
end
if began < account.began then return 0 end -- a later reading told
if mark ~= '' and is_another_free(appid, worker) then
  redis.call('ZADD', BASE .. 'watch', 'XX', NOW, appid)
  return 0
end
redis.call('HSET', account.key, 'blind', ARGV[4], 'next', next_at, 'tried', NOW)
redis.call('ZADD', BASE .. 'watch', 'XX', next_at, appid)
redis.call('DEL', BASE .. 'wanted:' .. appid)
if account.is_blind then return 0 end
stir_account(appid) -- those who waited for the reading alone
return 1
