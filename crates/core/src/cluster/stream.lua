local stream = KEYS[1]
local live = stream .. ':revocations'
local MAX_ENTRIES = 4096
local HOUR = 3600000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- The epoch is the member of the live set that never ends, and every entry of the stream names it. If either of the two
-- is gone, or if they disagree, another epoch begins.
local function head(another, void)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  local epoch = redis.call('ZRANGEBYSCORE', live, '+inf', '+inf')[1]
  if last and epoch and epoch ~= void then
    local fields = {}
    for i = 1, #last[2], 2 do
      fields[last[2][i]] = last[2][i + 1]
    end
    if fields.epoch == epoch and tonumber(fields.number) then
      return epoch, tonumber(fields.number), last[1]
    end
  end
  redis.call('ZREMRANGEBYSCORE', live, '+inf', '+inf')
  redis.call('ZADD', live, '+inf', another)
  local id = redis.call('XADD', stream, 'MAXLEN', '~', MAX_ENTRIES, '*', 'epoch', another, 'number', 1)
  return another, 1, id
end

-- Removes what has ended. The keys stay as long as anything in them is in force, and an hour at least.
local function tidy()
  redis.call('ZREMRANGEBYSCORE', live, '-inf', now)
  local last = redis.call('ZREVRANGEBYSCORE', live, '(+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local left = last and tonumber(last) - now or 0
  redis.call('PEXPIRE', live, string.format('%.0f', math.max(left, HOUR)))
  redis.call('PEXPIRE', stream, HOUR)
end
