-- A bucket that refills evenly: policies/token_bucket.py.
-- A string: an instant, and the units that had not flowed back at it.

local function not_back(state, now, rule)
  -- An instant further ahead than a period was given by a clock that is now set back.
  if not state or rule.quota > 0 and state[1] - now > rule.period then
    return 0
  end
  return math.max(0, state[2] - math.max(0, now - state[1]) * rule.quota / rule.period)
end

local function until_back(spent, ceiling, rule)
  if rule.quota == 0 then
    return nil
  end
  return math.max(0, (spent - ceiling) * rule.period / rule.quota)
end

policies.b = {
  read = function(key)
    return read(key, '<dd', 17)
  end,

  take = function(rule, state, now, cost)
    local spent = not_back(state, now, rule)
    local admitted = spent + cost <= rule.burst
    if admitted then
      spent = spent + cost
    end
    local bucket = {now, spent}
    local remaining = whole(rule.burst - spent)
    local retry_after = 0
    if not admitted then
      retry_after = cost <= rule.burst and until_back(spent, rule.burst - cost, rule) or nil
      retry_after = retry_after and exact_wait(retry_after, now, function(at)
        return not_back(bucket, at, rule) + cost <= rule.burst
      end)
    end
    local reset_after = 0
    if spent > 0 then
      reset_after = until_back(spent, rule.burst - remaining - 1, rule)
    end
    return bucket, admitted, remaining, retry_after, reset_after
  end,

  write = function(key, rule, bucket)
    local value = struct.pack('<Bdd', LAYOUT, bucket[1], bucket[2])
    -- A bucket that nothing flows back into is closed but for a burst; a year is for ever.
    write(key, value, until_back(bucket[2], 0, rule) or 3.2e13)
  end,

  give_back = function(rule, bucket, now, cost, after)
    local left = math.max(0, cost - after * rule.quota / rule.period)
    return {now, math.max(0, not_back(bucket, now, rule) - left)}
  end,
}
