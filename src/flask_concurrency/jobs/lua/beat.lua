-- ARGV: 2 worker, 3 lease in seconds (0: the worker leaves), 4 what it says of itself, '' for nothing new.
-- A lease that has ended is not renewed: the job may be another worker's by then.
local worker, at, lease = ARGV[2], now(), tonumber(ARGV[3])
if lease > 0 then
  redis.call('ZADD', p .. ':alive', at + lease, worker)
  if ARGV[4] ~= '' then redis.call('HSET', p .. ':workers', worker, ARGV[4]) end
else
  redis.call('ZREM', p .. ':alive', worker)
  redis.call('HDEL', p .. ':workers', worker)
end
for _, id in ipairs(redis.call('SMEMBERS', mine(worker))) do
  if lease == 0 then
    redis.call('ZADD', p .. ':leases', 0, id)
  elseif tonumber(redis.call('ZSCORE', p .. ':leases', id) or '0') >= at then
    redis.call('ZADD', p .. ':leases', at + lease, id)
  end
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', p .. ':alive', '-inf', at - 60)) do
  redis.call('ZREM', p .. ':alive', gone)
  redis.call('HDEL', p .. ':workers', gone)
end
return {}
