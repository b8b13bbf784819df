-- Whose turn it is: the account that comes first and gets a slot, and who of it goes first.

-- Whether an account gets one more slot of the holder's worker, of `slots` that are shared (0: they are not): one at a
-- time while its newest call hung.
local function gets_slot(holder, appid, slots)
  if slots == 0 then return true end
  local held = take_slot(holder, appid)
  if held == 1 or (not account_of(appid).hung and held <= share_of(slots)) then return true end
  free_slot(holder, appid)
  return false
end

-- The next turn of an account that has this one, behind who comes `after` it; nil where nobody does.
local function next_turn(appid, turn, after, after_turn)
  if not after or (turn < BAND and after_turn >= BAND) then return nil end
  return math.max(turn + 1, after_turn + (appid < after and 1 or 0))
end

-- Who of an account goes first, now that it has its turn. Returns its id, and the place of whoever comes behind it ('':
-- nobody does; nil: not looked up).
local function first_in_lane(appid, is_batch, prefers_tried)
  if prefers_tried then
    local from = TRIED_AGAIN + (is_batch and BATCHES_BEGIN or 0)
    local id = redis.call('ZRANGEBYSCORE', lane_key(appid), from, from + BAND, 'LIMIT', 0, 1)[1]
    if id then return id end
  end
  local first = redis.call('ZRANGE', lane_key(appid), 0, 1, 'WITHSCORES')
  return first[1], first[4] or ''
end
