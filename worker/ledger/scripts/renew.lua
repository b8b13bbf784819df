-- Keep a claim for a further call: to `kf_account` ('' when it only reads back), or with `choose` to the
-- next target that can be asked.
-- ARGV: retention, id, fence, kf_account, choose (1 or 0), lease_ms, doubt, out, offline (the agent just found
-- so, or ''), visited (who was asked in vain in this delivery), attempts, calls, n, then n times (slot, call, message).
-- Returns {what, calling, reason, is_unread, left_ms}: `what` is 'ok', 'cancelled' when it was taken back meanwhile, 'over' when
-- a next target was to be chosen after the deadline, or 'lost'; `calling` is '' when nobody can be asked now, for
-- `reason` ('' when every target is wrong); `left_ms` is the time to the deadline, which a join may have moved.
local id, fence, calling, chooses, lease_ms = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1', tonumber(ARGV[6])
local doubt, out, offline, visited, n = ARGV[7], ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[13])
local FIRST_ATTEMPT = 14

local rec = load(id)
if not rec or rec.fence ~= fence or rec.status ~= 'calling' then return { 'lost' } end
learn(rec, doubt, '')
local account, reason, is_unread, is_counted = account_of(rec.appid), '', false, false
if offline ~= '' then note_offline(account, offline) end
if is_answered(n, FIRST_ATTEMPT) then note_answer(account) end
local is_over = chooses and NOW >= rec.deadline_at
if chooses or calling ~= rec.calling then
  take_off(rec, doubt_of(rec) == rec.calling)
  if offline ~= rec.calling then let_suspect_go(account, rec.calling) end
  if account.paused and chooses then
    reason = 'paused'
  elseif chooses and not is_over then
    calling, reason, is_unread, is_counted = choose(account, rec.targets, out, visited, asks_before(rec))
  end
  if calling ~= '' then
    give(account, calling, id, is_counted)
    if chooses then hold_suspect(account, calling) end
  end
end
local fields = attempt_fields(n, FIRST_ATTEMPT)
for _, part in ipairs({ 'lease', lease_ms, 'calling', calling, 'attempts', ARGV[11], 'calls', ARGV[12] }) do
  fields[#fields + 1] = part
end
redis.call('HSET', record_key(id), unpack(fields))
if out ~= '' then redis.call('HSET', record_key(id), 'out', out) end
redis.call('ZADD', BASE .. 'due', NOW + lease_ms, id)
return { rec.cancel and 'cancelled' or is_over and 'over' or 'ok', calling, reason, is_unread and 1 or 0, rec.deadline_at - NOW }
