-- How many are inside right now: policies/in_flight.py.
-- A tally whose instants are those at which leases end, so what a dead process held comes back
-- one lease after it last said that it lives.
policies.i = {
  read = function(key, rule, now, lease)
    local inside = prune(key, now)
    if inside + rule.cost > rule.quota then
      -- A lease beyond the longest was given by a clock that is now set back: it ends in time.
      for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, beyond(now + lease), '+inf')) do
        redis.call('ZADD', key, now + lease, member)
      end
    end
    return inside
  end,

  take = function(rule, inside, now, cost)
    local admitted = inside + cost <= rule.quota
    if admitted then
      return inside, true, rule.quota - inside - cost, 0, nil
    end
    return inside, false, rule.quota - inside, nil, nil
  end,

  write = function(key, rule, inside, now, id, index, lease)
    add(key, now + lease, entry_of(rule.cost, id, index), lease)
  end,
}
