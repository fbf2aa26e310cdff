-- Returns how many are queued and running, seconds since the earliest due_at or '', and what living
-- workers say.
local at, oldest = now(), ''
for _, name in ipairs(redis.call('SMEMBERS', p .. ':names')) do
  local first = redis.call('ZRANGEBYSCORE', due(name), '-inf', at, 'WITHSCORES', 'LIMIT', 0, 1)
  if first[2] and (oldest == '' or tonumber(first[2]) < tonumber(oldest)) then oldest = first[2] end
end
local reply = {
  redis.call('HGET', p .. ':queued', '*') or '0',
  tostring(redis.call('ZCARD', p .. ':leases')),
  oldest == '' and '' or told(at - tonumber(oldest)),
}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', p .. ':alive', at, '+inf')) do
  table.insert(reply, redis.call('HGET', p .. ':workers', worker) or '')
end
return reply
