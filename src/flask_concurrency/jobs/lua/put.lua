-- ARGV: 2 id, 3 the version it must have ('' for a new job), 4 its new version, 5 record, 6 status,
-- 7 name, 8 owner, 9 due_at, 10 worker, 11 lease in seconds, 12 expires_at or '', 13 key or '',
-- 14 most queued or '', 15 most queued of the owner or '', 16 '1' to act only if its lease has ended.
-- Returns 'ok'; 'changed' if the version is another; 'known' and a record for a key that is in use;
-- 'full' and whose queue. Nothing was written but for 'ok'; all of it was, or nothing.
local id, status, name, owner = ARGV[2], ARGV[6], ARGV[7], ARGV[8]
local at, record = now(), job(id)
local before, number = '', nil

if ARGV[3] == '' then
  local key = ARGV[13]
  if key ~= '' then
    local other = redis.call('HGET', p .. ':keys', key)
    local kept = other and redis.call('HGET', job(other), 'record')
    local expires = other and redis.call('ZSCORE', p .. ':expires', other)
    if kept and not (expires and tonumber(expires) <= at) then return {'known', kept} end
    redis.call('HSET', p .. ':keys', key, id)
  end
  local queued = tonumber(redis.call('HGET', p .. ':queued', '*') or '0')
  local theirs = tonumber(redis.call('HGET', p .. ':queued', 'owner:' .. owner) or '0')
  local full = nil
  if ARGV[14] ~= '' and queued >= tonumber(ARGV[14]) then full = 'all' end
  if not full and owner ~= '' and ARGV[15] ~= '' and theirs >= tonumber(ARGV[15]) then full = 'owner' end
  if full then
    if key ~= '' then redis.call('HDEL', p .. ':keys', key) end
    return {'full', full}
  end
  number = redis.call('INCR', p .. ':number')
  redis.call('HSET', record, 'number', number, 'owner', owner, 'key', key, 'name', name)
  redis.call('ZADD', p .. ':all', number, id)
  redis.call('ZADD', of_owner(owner), number, id)
else
  local found = redis.call('HMGET', record, 'version', 'status', 'number', 'worker')
  if found[1] ~= ARGV[3] then return {'changed'} end
  if ARGV[16] == '1' then
    local lease = redis.call('ZSCORE', p .. ':leases', id)
    if not lease or tonumber(lease) >= at then return {'changed'} end
  end
  before, number = found[2], found[3]
  if before == 'running' and status ~= 'running' then
    redis.call('SREM', mine(found[4]), id)
    redis.call('ZREM', p .. ':leases', id)
  end
end

local member = string.format('%016d', tonumber(number)) .. ':' .. id
if before == 'queued' and status ~= 'queued' then
  redis.call('ZREM', due(name), member)
  redis.call('HINCRBY', p .. ':queued', '*', -1)
  if redis.call('HINCRBY', p .. ':queued', 'owner:' .. owner, -1) <= 0 then
    redis.call('HDEL', p .. ':queued', 'owner:' .. owner)
  end
elseif before ~= 'queued' and status == 'queued' then
  redis.call('HINCRBY', p .. ':queued', '*', 1)
  redis.call('HINCRBY', p .. ':queued', 'owner:' .. owner, 1)
  redis.call('SADD', p .. ':names', name)
end
if status == 'queued' then redis.call('ZADD', due(name), ARGV[9], member) end
if status == 'running' and before ~= 'running' then
  redis.call('SADD', mine(ARGV[10]), id)
  redis.call('ZADD', p .. ':leases', at + tonumber(ARGV[11]), id)
end
if ARGV[12] ~= '' then
  redis.call('ZADD', p .. ':expires', ARGV[12], id)
else
  redis.call('ZREM', p .. ':expires', id)
end
redis.call('HSET', record, 'version', ARGV[4], 'record', ARGV[5], 'status', status, 'worker', ARGV[10])
redis.call('INCR', p .. ':changes')
-- Wakes workers if there is a job to start or, perhaps, one to cancel. Without the right to do so, or
-- on a server without streams, it is written all the same, and they find it by themselves.
if status == 'queued' or status == before then
  redis.pcall('XADD', p .. ':wakes', 'MAXLEN', 1, '*', 'id', id)
end
return {'ok'}
