-- ARGV: 2 '' for all jobs or 'owner', 3 the owner, 4 the id after which to go on or '', 5 how many.
-- Returns records, newest first; those that have expired are among them.
local index, top = ARGV[2] == '' and p .. ':all' or of_owner(ARGV[3]), '+inf'
if ARGV[4] ~= '' then
  local number = redis.call('HGET', job(ARGV[4]), 'number')
  if not number then return {} end
  top = '(' .. number
end
local reply = {}
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', index, top, '-inf', 'LIMIT', 0, ARGV[5])) do
  table.insert(reply, redis.call('HGET', job(id), 'record') or '')
end
return reply
