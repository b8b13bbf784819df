-- Keep a claim for another call: to the same agent again, or to a further one.
-- ARGV: retention, id, fence, kf_account, lease_ms, doubt, attempts, calls, n, then n times (slot, call, message).
-- Returns 'ok', 'cancelled' when it was taken back meanwhile, or 'lost'.
local id = ARGV[2]
local rec = load(id)
if not rec or rec.fence ~= tonumber(ARGV[3]) or rec.status ~= 'calling' then return 'lost' end
learn(rec, ARGV[6])
keep_attempts(id, tonumber(ARGV[9]), 10)
redis.call('HSET', record_key(id), 'calling', ARGV[4], 'attempts', ARGV[7], 'calls', ARGV[8])
redis.call('ZADD', BASE .. 'due', NOW + tonumber(ARGV[5]), id)
return rec.cancel and 'cancelled' or 'ok'
