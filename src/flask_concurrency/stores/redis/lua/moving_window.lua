-- The exact log of what was admitted in the trailing period: policies/moving_window.py.
-- A tally whose instants are those of admission.

-- Microseconds until enough of the oldest entries have left; nil if all together are too few.
local function until_left(key, period, now, excess)
  local first = 1 -- the sum is at 0
  while true do
    local entries = redis.call('ZRANGE', key, first, first + 15, 'WITHSCORES')
    if #entries == 0 then
      return nil
    end
    for index = 1, #entries, 2 do
      excess = excess - cost_of(entries[index])
      if excess <= 0 then
        return tonumber(entries[index + 1]) + period - now
      end
    end
    first = first + 16
  end
end

policies.m = {
  read = function(key, rule, now)
    return {key, prune(key, now - rule.period)}
  end,

  take = function(rule, log, now, cost)
    local key, used = log[1], log[2]
    local admitted = used + cost <= rule.quota
    local retry_after, reset_after = 0, 0
    if used > 0 then
      reset_after = until_left(key, rule.period, now, 1)
    elseif admitted and cost > 0 then
      reset_after = rule.period
    end
    if admitted then
      used = used + cost
    else
      retry_after = until_left(key, rule.period, now, used + cost - rule.quota)
    end
    return log, admitted, rule.quota - used, retry_after, reset_after
  end,

  write = function(key, rule, log, now, id, index)
    add(key, now, entry_of(rule.cost, id, index), rule.period)
  end,

  -- Takes the entry of that cost nearest to the instant out of the log; there is nothing to write.
  give_back = function(rule, log, now, cost, after)
    local key, nearest, distance = log[1], nil, nil
    local entries = redis.call('ZRANGE', key, 1, -1, 'WITHSCORES')
    for index = 1, #entries, 2 do
      local apart = math.abs(now - after - tonumber(entries[index + 1]))
      if cost_of(entries[index]) == cost and (not nearest or apart < distance) then
        nearest, distance = entries[index], apart
      end
    end
    if nearest then
      remove(key, nearest)
    end
  end,
}
