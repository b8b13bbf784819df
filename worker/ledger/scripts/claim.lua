-- Take the next request.
-- ARGV: retention, what claim_next takes (9), then the ids of the doorbell that is answered. Who of them an older
-- release queued is put into its lane.
-- Returns {is_unread, has_more, unknown, passed_on, claim}: `unknown` are the ids that no record stands behind,
-- `passed_on` is who is to be rung for other machines.
local FIRST_ID = 11
local worker, leaves = ARGV[6], ARGV[7]

local function unknown_ids()
  local names, unknown = {}, {}
  for i = FIRST_ID, #ARGV do names[#names + 1] = record_key(ARGV[i]) end
  if #names == 0 or redis.call('EXISTS', unpack(names)) == #names then return unknown end
  for i = FIRST_ID, #ARGV do
    if redis.call('EXISTS', record_key(ARGV[i])) == 0 then
      unknown[#unknown + 1] = ARGV[i]
      count('doorbell_unknown_id')
    end
  end
  return unknown
end

-- The first of them who is queued; the ids of one doorbell were written together, so that it stands for all.
local function first_queued()
  for i = FIRST_ID, #ARGV do
    local rec = load(ARGV[i])
    if rec and rec.status == 'queued' then return rec end
  end
end

local function put_into_lanes()
  for i = FIRST_ID, #ARGV do
    local rec = load(ARGV[i])
    if rec and rec.status == 'queued' then enter_lane(rec) end
  end
end

local passed_on = {}
local rec = first_queued()
if rec then
  local place = redis.call('ZSCORE', lane_key(rec.appid), rec.id)
  if tonumber(place or 0) ~= place_in_lane(rec) then put_into_lanes() end
  -- The next tick of a waiting room rings it. Who stands here for longer waits for free slots, which draw by
  -- themselves: to ring again and again would bring the doorbell back here.
  local is_left = is_among(rec.appid, leaves) and is_another_free(rec.appid, worker)
  if is_left and NOW - past(rec.updated_at) < RING_AGAIN_MS then
    redis.call('ZADD', BASE .. 'due', NOW, rec.id)
    passed_on[1] = rec.id
  end
end
local unknown = unknown_ids()
local is_unread, has_more, claim = unpack(claim_next(2))
return { is_unread, has_more, unknown, passed_on, claim }
