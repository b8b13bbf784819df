-- Ids of a chunk that were not started are due again at once. ARGV: retention, ids...
for i = 2, #ARGV do
  if redis.call('HGET', record_key(ARGV[i]), 'status') == 'queued' then
    redis.call('ZADD', BASE .. 'due', NOW, ARGV[i])
  end
end
return #ARGV - 1
