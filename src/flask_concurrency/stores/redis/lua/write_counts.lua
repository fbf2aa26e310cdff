-- Keep what a host has counted in place of what it wrote before, and forget hosts long silent.
--
-- KEYS     a hash of hosts' counts, a sorted set of when each wrote last
-- ARGV     host, its counts, seconds after which a silent host is forgotten

local now = tonumber(redis.call('TIME')[1])

redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now, ARGV[1])
for _, host in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])) do
  redis.call('HDEL', KEYS[1], host)
  redis.call('ZREM', KEYS[2], host)
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
