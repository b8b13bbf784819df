-- A worker takes the next request: the oldest queued escalation first, else the first claimable of
-- its own ids. The agent about to be called is in the ledger before the call, so that a worker that
-- dies leaves behind whom the fan may have been given to.

-- Most escalations that one claim buries on its way; the waiting room sees to the rest.
local EXPIRIES = 100

-- The agent to ask: one under doubt if it is a target (asking again is safe), else the first target
-- that was not found wrong. Empty when the fan must be read back first, or presence says whom to ask.
local function choose(targets, out, doubt)
  local wrong, first = {}, ''
  for each in string.gmatch(out, '[^|]+') do wrong[each] = true end
  for each in string.gmatch(targets, '[^|]+') do
    if each == doubt then return each end
    if first == '' and not wrong[each] then first = each end
  end
  return (doubt or first == 'any') and '' or first
end

local function take(rec, holder, lease_ms)
  local key, doubt = record_key(rec.id), doubt_of(rec)
  local v = redis.call('HMGET', key, 'targets', 'out', 'attempts', 'calls', 'strikes', 'crashes', 'holder')
  if rec.status == 'queued' then
    if NOW >= rec.deadline_at and not doubt then
      finish(rec, 'expired', rec.reason)
      return nil
    end
    rec.calling = choose(v[1], v[2] or '', doubt)
    if NOW >= rec.deadline_at or rec.cancel then rec.calling = '' end
    rec.fence = rec.fence + 1
    move(rec, 'calling', rec.reason)
    redis.call('HSET', key, 'fence', rec.fence, 'holder', holder, 'calling', rec.calling)
  elseif rec.status ~= 'calling' or v[7] ~= holder then
    return nil -- somebody else has it, or it is not its turn: a doubled doorbell harms nothing
  end
  redis.call('ZADD', BASE .. 'due', NOW + lease_ms, rec.id)
  return { rec.id, rec.fence, rec.appid, rec.openid, v[1], v[2] or '', rec.calling, doubt or '',
    rec.reason, v[3] or 0, v[4] or 0, v[5] or 0, v[6] or 0, rec.cancel and 1 or 0,
    rec.deadline_at - NOW }
end

-- The claim of this holder whose reply was lost, if there is one.
local function held(holder)
  for _, id in ipairs(redis.call('ZRANGE', BASE .. 'index:calling', 0, -1)) do
    if redis.call('HGET', record_key(id), 'holder') == holder then return load(id) end
  end
end

-- ARGV[first..]: holder, lease in ms, 1 for a claim sent again, own ids.
-- Returns how many own ids are used up, the unknown ones, and the claim or nothing.
local function claim_next(first)
  local holder, lease_ms = ARGV[first], tonumber(ARGV[first + 1])
  local again = ARGV[first + 2] == '1' and held(holder)
  if again then return { 0, {}, take(again, holder, lease_ms) } end
  local lane = BASE .. 'index:queued:escalation'
  for _ = 1, EXPIRIES do
    local oldest = redis.call('ZRANGE', lane, 0, 0)[1]
    if not oldest then break end
    local rec = load(oldest)
    if not rec then redis.call('ZREM', lane, oldest) end
    local taken = rec and take(rec, holder, lease_ms)
    if taken then return { 0, {}, taken } end
  end
  local unknown = {}
  for i = first + 3, #ARGV do
    local rec = load(ARGV[i])
    if not rec then
      unknown[#unknown + 1] = ARGV[i]
      count('doorbell_unknown_id')
    else
      local taken = take(rec, holder, lease_ms)
      if taken then return { i - first - 2, unknown, taken } end
    end
  end
  return { #ARGV - first - 2, unknown }
end
