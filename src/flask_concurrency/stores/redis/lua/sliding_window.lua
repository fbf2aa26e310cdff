-- When each unit of the trailing period was spent, as runs: policies/sliding_window.py.
-- A string of pairs, each an instant and a number: the newest run's first instant and the number of
-- the last unit that has left; then of each run, oldest first, its last unit's. Only the pairs at
-- both ends are read, so a decision costs the same however many runs there are.

local RUNS, MOST_RUNS = 32, 33
local PAIR, SIZE, FIRST = '<dd', 16, 2

local function pair(value, position)
  local at, number = struct.unpack(PAIR, value, position)
  return at, number
end

-- The window now: without what has left, and without what a clock said that is now set back. An
-- instant up to a period ahead stays, and leaves within two; one further ahead is no instant.
local function recent(value, now, period)
  local window = {first = -math.huge, before = 0, value = value or '', from = FIRST + SIZE}
  if not value then
    window.upto, window.last = FIRST, 0
    return window
  end
  window.first, window.before = pair(value, FIRST)
  window.upto = #value + 1 -- where the next run would begin
  while window.from < window.upto do
    local at, number = pair(value, window.upto - SIZE)
    if at <= now + period then
      window.last = number
      break
    end
    window.upto, window.first = window.upto - SIZE, -math.huge
  end
  while window.from < window.upto do
    local at, number = pair(value, window.from)
    if at + period > now then
      break
    end
    window.before, window.from = number, window.from + SIZE
  end
  window.last = window.from < window.upto and window.last or window.before
  return window
end

-- Microseconds until the run at a position leaves; never more than the period.
local function until_left(window, position, now, period)
  return math.min((pair(window.value, position)) + period - now, period)
end

-- Whether units that come now join the newest run.
local function joins(rule, window, now)
  local size = window.upto - window.from
  local grain = rule.quota <= RUNS and 0 or rule.period / RUNS
  return size > 0 and (now - window.first <= grain or size >= MOST_RUNS * SIZE)
end

local function packed(first, before, runs)
  return string.char(LAYOUT) .. struct.pack(PAIR, first, before) .. runs
end

policies.s = {
  read = function(key, rule, now)
    local value = redis.call('GET', key)
    if value and ((#value - 1) % SIZE ~= 0 or #value <= SIZE or string.byte(value) ~= LAYOUT) then
      foreign(key)
    end
    return recent(value or nil, now, rule.period)
  end,

  take = function(rule, window, now, cost)
    local period = rule.period
    local used = window.last - window.before
    local empty = window.from >= window.upto
    local remaining = rule.quota - used
    if cost > remaining then
      local retry_after
      if cost <= rule.quota then
        local position = window.from
        local number = window.before + cost - remaining
        while select(2, pair(window.value, position)) < number do
          position = position + SIZE
        end
        retry_after = until_left(window, position, now, period)
      end
      local reset_after = empty and 0 or until_left(window, window.from, now, period)
      return window, false, math.max(0, remaining), retry_after, reset_after
    end
    if cost == 0 then
      local reset_after = empty and 0 or until_left(window, window.from, now, period)
      return window, true, remaining, 0, reset_after
    end
    local alone = empty or window.upto - window.from == SIZE and joins(rule, window, now)
    local reset_after = alone and period or until_left(window, window.from, now, period)
    return window, true, remaining - cost, 0, reset_after
  end,

  -- Only now is the string made, for a request that is really admitted.
  write = function(key, rule, window, now)
    local number = window.last + rule.cost
    local upto, first, at = window.upto, window.first, now
    if window.from < upto then
      at = math.max(now, (pair(window.value, upto - SIZE))) -- in order, though a clock is set back
    end
    if joins(rule, window, now) then
      upto = upto - SIZE
    else
      first = at
    end
    local runs = string.sub(window.value, window.from, upto - 1) .. struct.pack(PAIR, at, number)
    write(key, packed(first, window.before, runs), at + rule.period - now)
  end,

  -- Takes units out of the run they joined; nothing is written where that run has left.
  give_back = function(rule, window, now, cost, after, key)
    local spent_at, found = now - after, nil
    local distance = (rule.quota <= RUNS and 0 or rule.period / RUNS) + rule.period / 100
    local before = window.before
    for position = window.from, window.upto - 1, SIZE do
      local at, number = pair(window.value, position)
      local apart = math.abs(at - spent_at)
      if number - before >= cost and apart <= distance then
        found, distance = position, apart
      end
      before = number
    end
    if not found or cost == 0 then
      return
    end
    local runs, first = {string.sub(window.value, window.from, found - 1)}, window.first
    before = found == window.from and window.before
      or select(2, pair(window.value, found - SIZE))
    for position = found, window.upto - 1, SIZE do
      local at, number = pair(window.value, position)
      number = number - cost
      if position ~= found or number ~= before then
        runs[#runs + 1] = struct.pack(PAIR, at, number)
      elseif position + SIZE >= window.upto then
        first = -math.huge -- a run that begins now must not join the one before it
      end
    end
    runs = table.concat(runs)
    if runs == '' then
      redis.call('DEL', key)
    else
      local last = pair(runs, #runs - SIZE + 1)
      write(key, packed(first, window.before, runs), last + rule.period - now)
    end
  end,
}
