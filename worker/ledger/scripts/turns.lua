-- Whose turn it is: the account that comes first and gets a slot, and who of it goes first.

-- Whether an account gets one more slot of the holder's worker, of `slots` that the accounts it has `served` share (0:
-- they do not): one at a time while its newest call hung.
local function gets_slot(holder, appid, slots, served)
  if slots == 0 then return true end
  local held = take_slot(holder, appid)
  if held == 1 or (not account_of(appid).hung and held <= share_of(slots, served)) then return true end
  free_slot(holder, appid)
  return false
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
