-- Give what each host has counted, as it wrote it last.
--
-- KEYS     a hash of hosts' counts

return redis.call('HGETALL', KEYS[1])
