local epoch, number, id = head(ARGV[1], '')
local rank, most = tonumber(ARGV[2]), tonumber(ARGV[3])
return { epoch, number, id, redis.call('ZREVRANGE', live, rank, rank + most - 1, 'WITHSCORES') }
