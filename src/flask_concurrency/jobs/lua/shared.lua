-- KEYS[1] is the prefix of all keys, with a hash tag: they are on one node of a cluster.
-- ARGV[1] is the instant, or '' for the server's own clock.
local p = KEYS[1]

local function now()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function job(id) return p .. ':job:' .. id end
local function due(name) return p .. ':due:' .. name end
local function mine(worker) return p .. ':work:' .. worker end
local function of_owner(owner) return p .. ':owner:' .. owner end
local function told(instant) return string.format('%.6f', instant) end
