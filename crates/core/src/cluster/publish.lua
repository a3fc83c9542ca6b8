local epoch, number, id = head(ARGV[1], '')
local origin, room = ARGV[2], tonumber(ARGV[3])
local changes, fresh, again = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local entry = { 'epoch', epoch, 'number', number + 1, 'after', id, 'origin', origin }
local own = #entry
local at = 7

for _ = 1, changes do
  entry[#entry + 1] = ARGV[at]
  entry[#entry + 1] = ARGV[at + 1]
  at = at + 2
end

redis.call('ZREMRANGEBYSCORE', live, '-inf', now)
local members = redis.call('ZCARD', live)

-- Adds a member or lets it end later. Returns false if there is no room for it.
local function revoke(member, last)
  if members > room and not redis.call('ZSCORE', live, member) then
    return false
  end
  if redis.call('ZADD', live, 'GT', 'CH', last, member) == 1 then
    members = redis.call('ZCARD', live)
    entry[#entry + 1] = 'revoked'
    entry[#entry + 1] = member .. ' ' .. last
  end
  return true
end

local made = {}
for i = 1, fresh do
  local name, age, left = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  local since = string.sub(name, 1, 5) == 'user:' and math.floor((now - age) / 1000) or 0
  local member = name .. ':' .. string.format('%.0f', since)
  local last = string.format('%.0f', now + left)
  made[i] = revoke(member, last) and member .. ' ' .. last or ''
end
for _ = 1, again do
  revoke(ARGV[at], ARGV[at + 1])
  at = at + 2
end

if #entry > own then
  id = redis.call('XADD', stream, 'MAXLEN', '~', MAX_ENTRIES, '*', unpack(entry))
  number = number + 1
end
tidy()
return { epoch, number, id, made }
