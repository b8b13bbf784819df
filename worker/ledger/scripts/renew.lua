-- Keep a claim for a further call: to `kf_account` ('' when it only reads back), or with `choose` to the
-- next target that can be asked.
-- ARGV: retention, id, fence, kf_account, choose (1 or 0), lease_ms, doubt, out, offline (the agent just found
-- so, or ''), attempts, calls, n, then n times (slot, call, message).
-- Returns {what, calling, reason, is_unread}: `what` is 'ok', 'cancelled' when it was taken back meanwhile, or
-- 'lost'; `calling` is '' when nobody can be asked now, for `reason` ('' when every target is wrong).
local id = ARGV[2]
local rec = load(id)
if not rec or rec.fence ~= tonumber(ARGV[3]) or rec.status ~= 'calling' then return { 'lost' } end
learn(rec, ARGV[7], '')
keep_attempts(id, tonumber(ARGV[12]), 13)
local calling, reason, is_unread = ARGV[4], '', false
if ARGV[5] == '1' or calling ~= rec.calling then take_off(rec, doubt_of(rec) == rec.calling) end
if ARGV[5] == '1' then
  local account = account_of(rec.appid)
  if ARGV[9] ~= '' then redis.call('HSET', account.key, 'off:' .. ARGV[9], NOW) end
  local by_any
  calling, reason, is_unread, by_any = choose(account, rec.targets, ARGV[8], insistence_of(rec))
  if account.paused then calling, reason = '', 'paused' end
  if calling ~= '' then give(account, calling, id, by_any) end
end
local key = record_key(id)
redis.call('HSET', key, 'calling', calling, 'attempts', ARGV[10], 'calls', ARGV[11])
if ARGV[8] ~= '' then redis.call('HSET', key, 'out', ARGV[8]) end
redis.call('ZADD', BASE .. 'due', NOW + tonumber(ARGV[6]), id)
return { rec.cancel and 'cancelled' or 'ok', calling, reason or '', is_unread and 1 or 0 }
