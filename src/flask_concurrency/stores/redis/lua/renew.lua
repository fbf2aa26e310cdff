-- Prolong the leases of permits that are still held, and enter them again where the server lost
-- them, so that counts are right soon after a server started empty.
--
-- KEYS     one for each permit
-- ARGV     instant or '', lease in microseconds, then the permits

local now, lease = instant(ARGV[1]), tonumber(ARGV[2])

for index, key in ipairs(KEYS) do
  add(key, now + lease, ARGV[index + 2], lease)
end
