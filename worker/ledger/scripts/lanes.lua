-- Lanes: who is queued for an account, in the order in which they are taken: escalations, then batches; of each first
-- whose fan has only to be read back, then whose first try it is, then who is tried again; the oldest first. The
-- accounts with somebody queued stand in `turns`: those with an escalation first, then by turns, which only grow.

local TURNS = BASE .. 'turns'
-- Wider than any time, or any turn.
local BAND = 1e13
-- Where in a lane those begin who are tried again, and batches.
local TRIED_AGAIN, BATCHES_BEGIN = 2 * BAND, 3 * BAND

local function lane_key(appid) return BASE .. 'lane:' .. appid end

local function place_in_lane(rec)
  local place = rec.submitted_at + (rec.lane == 'escalation' and 0 or BATCHES_BEGIN)
  if rec.cancel or NOW >= rec.deadline_at then return place end
  return place + (tonumber(rec.attempts or 0) > 0 and TRIED_AGAIN or BAND)
end

-- The lane for which an account was found to have its turn in this script.
local has_turn = {}

-- The turn of a newcomer: one behind the account whose turn is next, of those with an escalation or of the others.
local function newcomers_turn(is_batch)
  local from = is_batch and BAND or 0
  local first = redis.call('ZRANGEBYSCORE', TURNS, from, '(' .. from + BAND, 'WITHSCORES', 'LIMIT', 0, 1)
  return tonumber(first[2] or from) + 1
end

-- `rec` stands in its lane, where it belongs as it now is. An account that had nobody queued, or nobody of that lane,
-- gets a newcomer's turn.
local function enter_lane(rec)
  redis.call('ZADD', lane_key(rec.appid), place_in_lane(rec), rec.id)
  if has_turn[rec.appid] == rec.lane then return end
  local turn, is_batch = tonumber(redis.call('ZSCORE', TURNS, rec.appid) or nil), rec.lane == 'batch'
  if not turn or (turn >= BAND and not is_batch) then redis.call('ZADD', TURNS, newcomers_turn(is_batch), rec.appid) end
  has_turn[rec.appid] = rec.lane
end

-- `rec` stands in its lane no more, and its account has a turn for what does. A claim says the new `turn` (nil: the one
-- it has), and where in the lane who comes `behind` stands ('' when nobody does).
local function leave_lane(rec)
  if redis.call('ZREM', lane_key(rec.appid), rec.id) == 0 then return end
  local behind, turn = rec.behind, rec.turn
  rec.behind, rec.turn, has_turn[rec.appid] = nil, nil, nil
  behind = behind or redis.call('ZRANGE', lane_key(rec.appid), 0, 0, 'WITHSCORES')[2] or ''
  if behind == '' then
    redis.call('ZREM', TURNS, rec.appid)
    return
  end
  if rec.lane == 'escalation' and tonumber(behind) >= BATCHES_BEGIN then turn = newcomers_turn(true) end
  if turn then redis.call('ZADD', TURNS, turn, rec.appid) end
end
