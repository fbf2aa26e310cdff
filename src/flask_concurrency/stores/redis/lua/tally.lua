-- A sorted set of entries "cost:id" that also knows the sum of their costs, so that nothing reads
-- all of them. The sum is one more member, with the negated sum as its score: every entry has an
-- instant above zero, so the sum comes first and no range of instants reaches it, and neither an
-- eviction nor an expiry can part it from the entries.
-- Invariant: -score of SUM = sum of the costs of all entries; an empty set has no key.
local SUM = 'sum'

-- Unique, since a take's id is: the same key may be checked twice in it. The client makes the same.
local function entry_of(cost, id, index)
  return cost .. ':' .. id .. ':' .. index
end

local function cost_of(member)
  return tonumber(string.match(member, '^(%d+):'))
end

-- A bound of a range that begins after an instant, in digits: the default format rounds.
local function beyond(instant)
  return string.format('(%.0f', instant)
end

-- Remove what is due by an instant; the sum of what stays.
local function prune(key, instant)
  local score = redis.call('ZSCORE', key, SUM)
  if not score then
    if redis.call('EXISTS', key) == 1 then
      foreign(key)
    end
    return 0
  end
  local sum = -tonumber(score)
  local due = redis.call('ZRANGEBYSCORE', key, 0, instant)
  if #due > 0 then
    redis.call('ZREMRANGEBYSCORE', key, 0, instant)
    for _, member in ipairs(due) do
      sum = sum - cost_of(member)
    end
    if sum > 0 then
      redis.call('ZADD', key, -sum, SUM)
    else
      redis.call('DEL', key)
    end
  end
  return sum
end

local function keep_for(key, microseconds)
  local milliseconds = lifetime(microseconds)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, milliseconds)
  end
end

-- Add an entry, or move one that is there already to another instant.
local function add(key, instant, member, microseconds)
  if redis.call('ZADD', key, instant, member) == 1 then
    redis.call('ZINCRBY', key, -cost_of(member), SUM)
  end
  keep_for(key, microseconds)
end

-- Remove an entry; nothing happens if it is gone already.
local function remove(key, member)
  if redis.call('ZREM', key, member) == 1 then
    if tonumber(redis.call('ZINCRBY', key, cost_of(member), SUM)) >= 0 then
      redis.call('DEL', key)
    end
  end
end
