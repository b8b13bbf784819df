-- A worker says goodbye. ARGV: retention, worker, then the accounts it served.
local worker = ARGV[2]
redis.call('HDEL', BASE .. 'workers', worker)
redis.call('DEL', BASE .. 'stepped_back:' .. worker, slots_key(worker))
for i = 3, #ARGV do redis.call('ZREM', BASE .. 'serving:' .. ARGV[i], worker) end
return 1
