-- Read and write numbers without losing any: instants are whole microseconds, exact up to 2^53,
-- and Redis cuts a Lua number in a reply down to a whole one.

-- The first byte of every string of ours, as in their names: see key_names.py.
local LAYOUT = 2

-- Kept longer than needed, so that a key never goes while its last moment is being decided.
local GRACE = 1000

-- What Redis accepts as a time to live: three thousand years.
local LONGEST = 1e14

-- A test that moves time by hand must not lose keys to the real clock.
local frozen = false

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
  return time[1] * 1000000 + time[2]
end

-- Milliseconds a key has to live.
local function lifetime(microseconds)
  local milliseconds = math.ceil(microseconds / 1000) + GRACE
  if frozen then
    milliseconds = math.max(milliseconds, 600000)
  end
  return math.max(1, math.min(milliseconds, LONGEST))
end

local function foreign(key)
  error('WRONGTYPE ' .. key .. ' holds something that is not ours')
end

-- What a key holds, unpacked by a format of LAYOUT and some doubles; nil for a key without a count.
local function read(key, format, size)
  local value = redis.call('GET', key)
  if not value then
    return nil
  end
  if #value ~= size or string.byte(value) ~= LAYOUT then
    foreign(key)
  end
  return {struct.unpack(format, value, 2)}
end

local function write(key, value, microseconds)
  redis.call('PSETEX', key, lifetime(microseconds), value) -- a fifth faster than SET … PX
end
