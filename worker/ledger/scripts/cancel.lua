-- Take a request back. ARGV: retention, id.
-- Returns 'cancelled'; 'asked' when a call is under way or the fan must be read back first; else the final
-- status that stands, or 'unknown'.
local rec = load(ARGV[2])
if not rec then return 'unknown' end
if FINAL[rec.status] then return rec.status end
if rec.status ~= 'calling' and not doubt_of(rec) then
  finish(rec, 'cancelled', rec.reason)
  return 'cancelled'
end
redis.call('HSET', record_key(rec.id), 'cancel', 1)
rec.cancel = '1'
if rec.status == 'waiting' then queue(rec, NOW) elseif rec.status == 'queued' then enter_lane(rec) end
return 'asked'
