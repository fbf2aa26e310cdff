-- Spend the units of all checks, or of none if any but a shadow is refused.
--
-- KEYS     one for each check
-- ARGV     instant or '', id of this take, lease in microseconds, then a rule for each check
-- Returns  admitted, remaining, retry_after, reset_after of each check, one after the other, in
--          microseconds, -1 for unknown
--
-- All keys are read before the first is written. What fails in between (a foreign value, a server
-- that is full or takes no writes) fails before anything was spent: Redis refuses the first write
-- of a script or none. Entries that are due anyway may have been removed by then.

local now, id, lease = instant(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local rules, reply, admitted = {}, {}, true

-- Whole microseconds, within what Redis can reply: 285 years are as good as more.
local function told(microseconds)
  return microseconds and math.min(math.ceil(microseconds), 9e15) or -1
end

local function report(index, fits, remaining, retry_after, reset_after)
  local at = 4 * index
  reply[at - 3] = fits and 1 or 0
  reply[at - 2] = remaining
  reply[at - 1] = told(retry_after)
  reply[at] = told(reset_after)
end

for index, key in ipairs(KEYS) do
  local rule = read_rule(ARGV[index + 3])
  local policy = policies[rule.kind]
  local fits, remaining, retry_after, reset_after
  rules[index] = rule
  rule.before = policy.read(key, rule, now, lease)
  rule.after, fits, remaining, retry_after, reset_after =
    policy.take(rule, rule.before, now, rule.cost)
  report(index, fits, remaining, retry_after, reset_after)
  admitted = admitted and (fits or rule.shadow)
end

for index, key in ipairs(KEYS) do
  local rule = rules[index]
  if reply[4 * index - 3] == 1 then
    local policy = policies[rule.kind]
    if admitted then
      if rule.cost > 0 then -- else it only looks
        policy.write(key, rule, rule.after, now, id, index, lease)
      end
    else -- another check refused: tell what is left without spending
      report(index, select(2, policy.take(rule, rule.before, now, 0)))
    end
  end
end

return reply
