-- One counter that starts over when its window ends: policies/fixed_window.py.
-- A string: the instant the window began, units in it.
policies.f = {
  read = function(key)
    return read(key, '<dd', 17)
  end,

  take = function(rule, state, now, cost)
    local window = state or {now, 0}
    if window[2] == 0 or math.abs(now - window[1]) >= rule.period then
      window = {now, 0}
    elseif now < window[1] then -- the server's clock was set back, by less than a period
      window = {now, window[2]}
    end
    local admitted = window[2] + cost <= rule.quota
    if admitted then
      window = {window[1], window[2] + cost}
    end
    local ends_after = window[1] + rule.period - now
    local retry_after = 0
    if not admitted then
      retry_after = cost <= rule.quota and ends_after or nil
    end
    local reset_after = window[2] > 0 and ends_after or 0
    return window, admitted, rule.quota - window[2], retry_after, reset_after
  end,

  write = function(key, rule, window, now)
    local value = struct.pack('<Bdd', LAYOUT, window[1], window[2])
    write(key, value, window[1] + rule.period - now)
  end,

  give_back = function(rule, window, now, cost, after)
    if now - after < window[1] then
      return window
    end
    return {window[1], math.max(0, window[2] - cost)}
  end,
}
