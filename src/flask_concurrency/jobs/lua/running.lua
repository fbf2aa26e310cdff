-- ARGV[2]: a worker, or '' for what has lost its lease. Returns the records of running jobs.
local ids
if ARGV[2] ~= '' then
  ids = redis.call('SMEMBERS', mine(ARGV[2]))
else
  ids = redis.call('ZRANGEBYSCORE', p .. ':leases', '-inf', '(' .. told(now()))
end
local reply = {}
for _, id in ipairs(ids) do table.insert(reply, redis.call('HGET', job(id), 'record')) end
return reply
