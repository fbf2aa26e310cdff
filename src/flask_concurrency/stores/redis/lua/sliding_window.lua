-- Weigh the previous window with how much of it still overlaps: policies/sliding_window.py.
-- A string: the instant the window began, units in it, units in the one before.

local function roll(state, now, period)
  if not state then
    return {now, 0, 0}
  end
  local elapsed = now - state[1]
  if elapsed < 0 then -- the server's clock was set back
    return {now, state[2], state[3]}
  elseif elapsed < period then
    return state
  elseif elapsed < 2 * period then
    return {state[1] + period, 0, state[2]}
  end
  return {now, 0, 0}
end

local function estimate(state, now, period)
  local windows = roll(state, now, period)
  return windows[2] + windows[3] * (1 - (now - windows[1]) / period)
end

local function until_at_most(windows, now, period, ceiling)
  if ceiling < 0 then
    return nil
  end
  local faded
  if windows[2] <= ceiling then -- the previous window fades enough within this one
    faded = windows[3] > 0 and 1 - (ceiling - windows[2]) / windows[3] or 0
  else -- this window must itself become the previous one and fade
    faded = 2 - ceiling / windows[2]
  end
  return math.max(0, windows[1] + faded * period - now)
end

policies.s = {
  read = function(key)
    return read(key, '<ddd', 25)
  end,

  take = function(rule, state, now, cost)
    local period = rule.period
    local windows = roll(state, now, period)
    local used = windows[2] + windows[3] * (1 - (now - windows[1]) / period)
    local admitted = used + cost <= rule.quota
    local retry_after = 0
    if admitted then
      used = used + cost
      windows = {windows[1], windows[2] + cost, windows[3]}
    else
      local ceiling = rule.quota - cost
      retry_after = until_at_most(windows, now, period, ceiling)
      retry_after = retry_after and exact_wait(retry_after, now, function(at)
        return estimate(windows, at, period) <= ceiling
      end)
    end
    local remaining = whole(rule.quota - used)
    local reset_after = 0
    if used ~= 0 then
      reset_after = until_at_most(windows, now, period, rule.quota - remaining - 1)
    end
    return windows, admitted, remaining, retry_after, reset_after
  end,

  write = function(key, rule, windows, now)
    local value = struct.pack('<Bddd', LAYOUT, windows[1], windows[2], windows[3])
    write(key, value, windows[1] + 2 * rule.period - now)
  end,

  give_back = function(rule, state, now, cost, after)
    local windows = roll(state, now, rule.period)
    local spent_at = now - after
    if spent_at >= windows[1] then
      return {windows[1], math.max(0, windows[2] - cost), windows[3]}
    elseif spent_at >= windows[1] - rule.period then
      return {windows[1], windows[2], math.max(0, windows[3] - cost)}
    end
    return windows
  end,
}
