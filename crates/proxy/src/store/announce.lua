-- pylae nodes 1: says that a node lives, and returns how many do.
-- KEYS[1]: nodes by the time of their last word. ARGV: for how many milliseconds that counts, the node, and what it has
-- said of itself before.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
for place = 3, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[place])
end
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('ZCARD', KEYS[1])
