-- Remove final records whose time has come, with all their traces; events go at the same age.
-- ARGV: retention, limit. Returns how many records went.
local ids = redis.call('ZRANGEBYSCORE', BASE .. 'retention', '-inf', NOW, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(ids) do
  local rec = load(id)
  redis.call('ZREM', BASE .. 'retention', id)
  if rec then
    redis.call('ZREM', index_key(rec.status, rec.reason, rec.lane), id)
    if redis.call('GET', fan_key(rec)) == id then redis.call('DEL', fan_key(rec)) end
    redis.call('DEL', record_key(id))
  end
end
redis.call('XTRIM', BASE .. 'events', 'MINID', '~', string.format('%.0f', NOW - RETENTION_MS))
return #ids
