-- Returns how many changes there were.
return {redis.call('GET', p .. ':changes') or '0'}
