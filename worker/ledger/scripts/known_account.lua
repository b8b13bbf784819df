-- Which account a wish is for: workers announce theirs every few seconds.

-- One that was not announced for so long may be a trial's.
local ALIVE_MS = 60 * 1000

-- The account named, or the only one known where none is named; else nil and the refusal to return.
local function known_account(appid)
  if appid ~= '' and redis.call('HEXISTS', BASE .. 'accounts', appid) == 1 then return appid end
  local announced = redis.call('HGETALL', BASE .. 'accounts')
  local known, alive = {}, {}
  for i = 1, #announced, 2 do
    known[#known + 1] = announced[i]
    if NOW - past(announced[i + 1]) < ALIVE_MS then alive[#alive + 1] = announced[i] end
  end
  if appid ~= '' then
    if #known == 0 then return appid end
    return nil, { 'refused', 'unknown_account', table.concat(known, ', ') }
  end
  local choices = #alive > 0 and alive or known
  if #choices ~= 1 then return nil, { 'refused', 'which_account', table.concat(choices, ', ') } end
  return choices[1]
end
