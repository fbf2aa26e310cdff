-- ARGV: 2 how many, 3... names. Returns the instant and records that are due, those due first.
local at, found = now(), {}
for i = 3, #ARGV do
  local some = redis.call('ZRANGEBYSCORE', due(ARGV[i]), '-inf', at, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
  for j = 1, #some, 2 do table.insert(found, {tonumber(some[j + 1]), some[j]}) end
end
table.sort(found, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
local reply = {told(at)}
for i = 1, math.min(#found, tonumber(ARGV[2])) do
  table.insert(reply, redis.call('HGET', job(string.sub(found[i][2], 18)), 'record'))
end
return reply
