-- Return what checks took.
--
-- KEYS     one for each check
-- ARGV     instant or '', microseconds since the take, then for each check a rule and the permit,
--          '' for a rate

local now, after = instant(ARGV[1]), tonumber(ARGV[2])

for index, key in ipairs(KEYS) do
  local rule, permit = read_rule(ARGV[2 * index + 1]), ARGV[2 * index + 2]
  if rule.kind == 'i' then
    remove(key, permit)
  else
    local policy = policies[rule.kind]
    local state = policy.read(key, rule, now)
    if state then
      state = policy.give_back(rule, state, now, rule.cost, after, key)
      if state then
        policy.write(key, rule, state, now)
      end
    end
  end
end
