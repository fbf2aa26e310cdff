-- What one check asks: "kind quota period burst cost shadow", periods in microseconds.
local function read_rule(written)
  local kind, quota, period, burst, cost, shadow =
    string.match(written, '^(%a) (%d+) (%d+) (%d+) (%d+) ([01])$')
  return {
    kind = kind,
    quota = tonumber(quota),
    period = tonumber(period),
    burst = tonumber(burst),
    cost = tonumber(cost),
    shadow = shadow == '1',
  }
end
