-- ARGV[2]: an id. Returns the instant, and its record if there is one.
return {told(now()), redis.call('HGET', job(ARGV[2]), 'record') or ''}
