-- Pause or resume an account, or one of its agents. ARGV: retention, appid ('' = the only one known), kf_account
-- ('' = all), 1 to pause, 0 to resume.
-- Returns {appid, 1 when that changed anything}, or {'refused', why, detail}.
local appid, refused = known_account(ARGV[2])
if not appid then return refused end
local field = ARGV[3] == '' and 'paused' or 'pause:' .. ARGV[3]
if ARGV[4] == '1' then return { appid, redis.call('HSETNX', account_key(appid), field, NOW) } end
local changed = redis.call('HDEL', account_key(appid), field)
if changed == 1 then open_gate(appid) end
return { appid, changed }
