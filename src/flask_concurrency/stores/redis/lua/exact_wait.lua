-- Round a wait up to the first microsecond at which a request is really admitted: floating point
-- may put the solved instant a hair too early. The step doubles, so the loop ends where a single
-- microsecond is lost in the rounding.
local function exact_wait(wait, now, admits)
  wait = math.ceil(math.max(0, wait))
  local step = 1
  while not admits(now + wait) do
    wait = wait + step
    step = step * 2
  end
  return wait
end
