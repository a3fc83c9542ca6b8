-- pylae nodes 1: the nodes that live, each followed by the milliseconds since its last word.
-- KEYS[1]: nodes by the time of their last word. ARGV: for how many milliseconds that counts, the most to return.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for place = 2, #found, 2 do
  found[place] = now - found[place]
end
return found
