-- ARGV[2]: how many at most. Removes jobs that have expired; returns how many.
local ids = redis.call('ZRANGEBYSCORE', p .. ':expires', '-inf', now(), 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local found = redis.call('HMGET', job(id), 'owner', 'key')
  if found[2] and redis.call('HGET', p .. ':keys', found[2]) == id then
    redis.call('HDEL', p .. ':keys', found[2])
  end
  redis.call('DEL', job(id))
  redis.call('ZREM', p .. ':expires', id)
  redis.call('ZREM', p .. ':all', id)
  redis.call('ZREM', of_owner(found[1] or ''), id)
end
return {#ids}
