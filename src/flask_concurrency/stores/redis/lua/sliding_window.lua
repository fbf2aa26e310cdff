-- When each unit of the trailing period was spent, as runs: policies/sliding_window.py.
-- A string of pairs, each an instant and a number: the newest run's first instant and the number of
-- the last unit that has left; then of each run, oldest first, its last unit's. Only the pairs at
-- both ends are read, so a decision costs the same however many runs there are.
-- The server defines all functions anew in each call, so there are few.

local RUNS, MOST_RUNS = 32, 33
local PAIR, SIZE, FIRST_RUN = '<dd', 16, 18

-- Whether units that come now join the newest run.
local function joins(rule, window, now)
  local size = window.upto - window.from
  local grain = rule.quota <= RUNS and 0 or rule.period / RUNS
  return size > 0 and (now - window.first <= grain or size >= MOST_RUNS * SIZE)
end

policies.s = {
  -- The window now: without what has left, and without what a clock said that is now set back. An
  -- instant up to a period ahead stays, and leaves within two; one further ahead is no instant.
  read = function(key, rule, now)
    local value = redis.call('GET', key)
    if not value then
      local from = FIRST_RUN
      return {first = -math.huge, before = 0, last = 0, from = from, upto = from, value = ''}
    end
    local upto = #value + 1
    local pairs_fit = upto >= FIRST_RUN + SIZE and (upto - FIRST_RUN) % SIZE == 0
    if not pairs_fit or string.byte(value) ~= LAYOUT then
      foreign(key)
    end
    local from, period = FIRST_RUN, rule.period
    local first, before, oldest, number = struct.unpack('<dddd', value, 2)
    local newest, last = oldest, number
    if upto > from + SIZE then
      newest, last = struct.unpack(PAIR, value, upto - SIZE)
    end
    while from < upto and newest > now + period do
      upto, first, last = upto - SIZE, -math.huge, before
      if from < upto then
        newest, last = struct.unpack(PAIR, value, upto - SIZE)
      end
    end
    while from < upto and oldest + period <= now do
      before, from = number, from + SIZE
      if from < upto then
        oldest, number = struct.unpack(PAIR, value, from)
      end
    end
    return {
      first = first,
      before = before,
      oldest = oldest,
      newest = newest,
      last = last,
      from = from, -- where the oldest run begins
      upto = upto, -- where the next one would
      value = value,
    }
  end,

  take = function(rule, window, now, cost)
    local quota, period = rule.quota, rule.period
    local remaining = quota - window.last + window.before
    local reset_after = 0
    if window.from < window.upto then
      reset_after = math.min(window.oldest + period - now, period)
    end
    if cost > remaining then
      local retry_after
      if cost <= quota then
        local enough, position = window.before + cost - remaining, window.from
        local at, number = struct.unpack(PAIR, window.value, position)
        while number < enough do
          position = position + SIZE
          at, number = struct.unpack(PAIR, window.value, position)
        end
        retry_after = math.min(at + period - now, period)
      end
      return window, false, math.max(0, remaining), retry_after, reset_after
    end
    local size = window.upto - window.from
    if cost > 0 and (size == 0 or size == SIZE and joins(rule, window, now)) then
      reset_after = period -- the units that come now are in the oldest run
    end
    return window, true, remaining - cost, 0, reset_after
  end,

  -- Only now is the string made, for a request that is really admitted.
  write = function(key, rule, window, now)
    local number = window.last + rule.cost
    local from, upto, first, at = window.from, window.upto, window.first, now
    if from < upto and window.newest > now then
      at = window.newest -- in order, though a clock is set back
    end
    if joins(rule, window, now) then
      upto = upto - SIZE
    else
      first = at
    end
    local value
    if from >= upto then
      value = struct.pack('<Bdddd', LAYOUT, first, window.before, at, number)
    else
      value = struct.pack('<Bdd', LAYOUT, first, window.before)
        .. string.sub(window.value, from, upto - 1)
        .. struct.pack(PAIR, at, number)
    end
    write(key, value, at + rule.period - now)
  end,

  -- Takes units out of the run they joined; nothing is written where that run has left.
  give_back = function(rule, window, now, cost, after, key)
    local spent_at, found = now - after, nil
    local distance = (rule.quota <= RUNS and 0 or rule.period / RUNS) + rule.period / 100
    local before, before_found = window.before, window.before
    for position = window.from, window.upto - 1, SIZE do
      local at, number = struct.unpack(PAIR, window.value, position)
      local apart = math.abs(at - spent_at)
      if number - before >= cost and apart <= distance then
        found, distance, before_found = position, apart, before
      end
      before = number
    end
    if not found or cost == 0 then
      return
    end
    local runs, first = {string.sub(window.value, window.from, found - 1)}, window.first
    local last
    if found > window.from then
      last = struct.unpack(PAIR, window.value, found - SIZE)
    end
    for position = found, window.upto - 1, SIZE do
      local at, number = struct.unpack(PAIR, window.value, position)
      number = number - cost
      if position ~= found or number ~= before_found then
        runs[#runs + 1] = struct.pack(PAIR, at, number)
        last = at
      elseif position + SIZE >= window.upto then
        first = -math.huge -- a run that begins now must not join the one before it
      end
    end
    if last then
      local value = struct.pack('<Bdd', LAYOUT, first, window.before) .. table.concat(runs)
      write(key, value, last + rule.period - now)
    else
      redis.call('DEL', key)
    end
  end,
}
