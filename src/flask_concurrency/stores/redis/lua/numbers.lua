-- Read and write numbers without losing any: instants are whole microseconds, exact up to 2^53,
-- and Redis cuts a Lua number in a reply down to a whole one.

-- Kept longer than needed, so that a key never goes while its last moment is being decided.
local GRACE = 1000

-- A test that moves time by hand must not lose keys to the real clock.
local frozen = false

local function text(number)
  return string.format('%.17g', number)
end

local function whole(number)
  if number < 0 then
    return math.ceil(number)
  end
  return math.floor(number)
end

-- The instant of this script: given by a test, else the server's clock, one for all its clients.
local function instant(given)
  if given ~= '' then
    frozen = true
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Milliseconds a key has to live, within what Redis accepts.
local function lifetime(microseconds)
  local milliseconds = math.ceil(microseconds / 1000) + GRACE
  if frozen then
    milliseconds = math.max(milliseconds, 600000)
  end
  return string.format('%.0f', math.max(1, math.min(milliseconds, 1e14)))
end

local function foreign(key)
  error('WRONGTYPE ' .. key .. ' holds something that is not ours')
end

-- The numbers of a key, or nil if nobody was counted.
local function read_numbers(key, count)
  local value = redis.call('GET', key)
  if not value then
    return nil
  end
  local numbers = {}
  for word in string.gmatch(value, '%S+') do
    numbers[#numbers + 1] = tonumber(word)
  end
  if #numbers ~= count then
    foreign(key)
  end
  return numbers
end

local function write_numbers(key, numbers, microseconds)
  local words = {}
  for index, number in ipairs(numbers) do
    words[index] = text(number)
  end
  redis.call('SET', key, table.concat(words, ' '), 'PX', lifetime(microseconds))
end
