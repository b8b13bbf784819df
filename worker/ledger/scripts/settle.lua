-- Write what became of a claim, and take the next request in the same round trip.
-- ARGV: retention, id, fence, status, reason, wait_ms, doubt, served_by, attempts, calls, strikes, crashes,
--       out, because, n, then n times (slot, call, message), then what claim_next takes (nothing: take none).
-- Returns {written, claimed}: written is 'ok', or 'lost' when the claim was not ours any more.
-- A settle sent again finds its fence on a record that is not calling: it was written, and that is fine.
local id, fence, status, reason = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local n = tonumber(ARGV[15])
local next_argument = 16 + 3 * n

local function write(rec)
  local key = record_key(id)
  learn(rec, ARGV[7])
  keep_attempts(id, n, 16)
  if ARGV[9] ~= '0' then redis.call('HSET', key, 'attempts', ARGV[9]) end
  if ARGV[10] ~= '0' then redis.call('HSET', key, 'calls', ARGV[10]) end
  if ARGV[13] ~= '' then redis.call('HSET', key, 'out', ARGV[13]) end
  if ARGV[8] ~= '' then redis.call('HSET', key, 'served_by', ARGV[8]) end
  if ARGV[14] ~= '' then
    redis.call('HSET', key, 'because', ARGV[14])
  elseif rec.reason ~= '' then
    redis.call('HDEL', key, 'because')
  end
  if rec.cancel and (status == 'waiting' or status == 'failed' or status == 'expired') then
    if not doubt_of(rec) or reason == 'unconfirmed' then
      status, reason = 'cancelled', status == 'failed' and reason ~= 'unconfirmed' and '' or reason
    elseif ARGV[12] == '0' then
      return queue(rec, NOW) -- read back first; after a crash of ours, once its back-off is over
    end
  end
  if (status == 'cancelled' and not rec.cancel) or (status == 'expired' and NOW < rec.deadline_at) then
    return queue(rec, NOW) -- joined since the worker looked: the newer wish stands
  end
  if FINAL[status] then return finish(rec, status, reason) end
  if status == 'queued' then return queue(rec, NOW) end
  local wake_at = NOW + tonumber(ARGV[6])
  move(rec, 'waiting', reason)
  redis.call('HDEL', key, 'calling', 'holder', 'crashes')
  redis.call('HSET', key, 'next_attempt_at', wake_at, 'strikes', ARGV[11])
  if ARGV[12] ~= '0' then redis.call('HSET', key, 'crashes', ARGV[12]) end
  redis.call('ZADD', BASE .. 'due', math.min(wake_at, rec.deadline_at), id)
end

local rec, written = load(id), 'ok'
if not rec or rec.fence ~= fence then
  written = 'lost'
elseif rec.status == 'calling' then
  write(rec)
end
if #ARGV < next_argument then return { written } end
return { written, claim_next(next_argument) }
