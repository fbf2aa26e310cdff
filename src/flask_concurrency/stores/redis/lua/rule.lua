-- What one check asks, as rules.py packs it; the period is in microseconds.
local function read_rule(packed)
  local kind, quota, period, burst, cost, shadow = struct.unpack('<c1ddddB', packed)
  return {
    kind = kind,
    quota = quota,
    period = period,
    burst = burst,
    cost = cost,
    shadow = shadow == 1,
    before = nil, -- the key's state, as read
    after = nil, -- and as it is to be written
  }
end
