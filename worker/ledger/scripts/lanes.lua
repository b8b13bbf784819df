-- Lanes: who is queued for an account, in the order in which they are taken: escalations, then batches; of each first
-- whose fan has only to be read back, then whose first try it is, then who is tried again; the oldest first. The
-- accounts with somebody queued stand in `turns`: those with an escalation first, then whose turn was longest ago.

local TURNS = BASE .. 'turns'
-- Wider than any time in ms.
local BAND = 1e13
-- Where in a lane those begin who are tried again, and batches.
local TRIED_AGAIN, BATCHES_BEGIN = 2 * BAND, 3 * BAND

-- A turn is when the account had its last one, or came, in us; batches take theirs after all escalations. Where the
-- clock is set back, `clock.lua` puts the turns right.
local LAST_TURN, TURNS_OF_BATCHES = tonumber(time[1]) * 1e6 + tonumber(time[2]), 4e15

local function lane_key(appid) return BASE .. 'lane:' .. appid end

local function place_in_lane(rec)
  local place = rec.submitted_at + (rec.lane == 'escalation' and 0 or BATCHES_BEGIN)
  if rec.cancel or NOW >= rec.deadline_at then return place end
  return place + (tonumber(rec.attempts or 0) > 0 and TRIED_AGAIN or BAND)
end

-- The lane for which an account was found to have its turn in this script.
local has_turn = {}

-- `rec` stands in its lane, where it belongs as it now is. An account that had nobody queued, or nobody of that lane,
-- comes last.
local function enter_lane(rec)
  redis.call('ZADD', lane_key(rec.appid), place_in_lane(rec), rec.id)
  if has_turn[rec.appid] == rec.lane then return end
  redis.call('ZADD', TURNS, 'LT', LAST_TURN + (rec.lane == 'escalation' and 0 or TURNS_OF_BATCHES), rec.appid)
  has_turn[rec.appid] = rec.lane
end

-- `rec` stands in its lane no more; its account keeps a turn while somebody does. Where `rec` had the account's turn
-- (`had_turn`), the account comes last. A claim knows the place of whoever comes `behind` ('': nobody does).
local function leave_lane(rec)
  if redis.call('ZREM', lane_key(rec.appid), rec.id) == 0 then return end
  local behind, had_turn = rec.behind, rec.had_turn
  rec.behind, rec.had_turn, has_turn[rec.appid] = nil, nil, nil
  behind = behind or redis.call('ZRANGE', lane_key(rec.appid), 0, 0, 'WITHSCORES')[2] or ''
  if behind == '' then
    redis.call('ZREM', TURNS, rec.appid)
    return
  end
  local is_batch = tonumber(behind) >= BATCHES_BEGIN
  if had_turn or (is_batch and rec.lane == 'escalation') then
    redis.call('ZADD', TURNS, LAST_TURN + (is_batch and TURNS_OF_BATCHES or 0), rec.appid)
  end
end
