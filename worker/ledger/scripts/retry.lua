-- Run a failed, expired or cancelled request again: a new generation with a fresh deadline and budget.
-- ARGV: retention, id, escalation ttl_ms, batch ttl_ms.
-- Returns {'queued', lane}; {'unknown'}; {'live', status} or {'succeeded', status} when there is nothing to
-- retry; {'superseded', id} while the fan has another live request.
local rec = load(ARGV[2])
if not rec then return { 'unknown' } end
if not FINAL[rec.status] then return { 'live', rec.status } end
if rec.status == 'created' or rec.status == 'already_served' then return { 'succeeded', rec.status } end
local newest = redis.call('GET', fan_key(rec))
local other = newest and newest ~= rec.id and load(newest)
if other and not FINAL[other.status] then return { 'superseded', other.id } end

local key = record_key(rec.id)
local deadline_at = NOW + tonumber(rec.lane == 'escalation' and ARGV[3] or ARGV[4])
rec.deadline_at, rec.attempts = deadline_at, 0
enter_lane(rec)
redis.call('HDEL', key, 'finished_at', 'served_by', 'attempts', 'out', 'because')
redis.call('HSETNX', key, 'generation', 1)
redis.call('HINCRBY', key, 'generation', 1)
redis.call('HSET', key, 'deadline_at', deadline_at)
redis.call('ZREM', BASE .. 'retention', rec.id)
redis.call('SET', fan_key(rec), rec.id)
keep_own_key(rec)
move(rec, 'queued', '')
redis.call('ZADD', BASE .. 'due', rec.deadline_at, rec.id)
return { 'queued', rec.lane }
