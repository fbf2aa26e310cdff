-- Returns what the server says of how it keeps its data.
return {redis.call('INFO', 'persistence'), redis.call('INFO', 'memory')}
