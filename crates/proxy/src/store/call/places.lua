-- pylae places 1: one call about one key of a concurrency limit that several nodes share. Does what
-- crates/core/src/limit/concurrency/places.rs does, number for number; the reasons are there. Times are microseconds.
-- KEYS[1]: the state. ARGV: 1 node (eight bytes), 2 number of the call, 3 limit, 4 keep, 5 need, 6 extra, 7 share.
-- Returns total, left, valid for, replaced.
local floor, max, min, pack, unpack = math.floor, math.max, math.min, struct.pack, struct.unpack
local LIFETIME, MOST_HOLDERS = 5000000, 256
-- The state: tag, then of each node: name, count, until, number. A state of another version has another tag.
local TAG, HOLDER, HOLDER_LENGTH = 'pp1', '<c8I4I7I7', 26
local NOBODY = string.rep('\0', 8)

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local node, number, limit, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local need, extra, share = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local holders, own, sum, replaced = {}, nil, 0, 0

local function add(name, count, expiry, last)
  expiry = min(expiry, now + LIFETIME)
  if expiry > now then
    holders[#holders + 1] = {name, count, expiry, last}
    sum = sum + count
    if name == node then
      own = #holders
    end
  end
end

local bytes = redis.pcall('GET', KEYS[1])
if bytes then
  if type(bytes) ~= 'string' or string.sub(bytes, 1, #TAG) ~= TAG or (#bytes - #TAG) % HOLDER_LENGTH > 0 then
    replaced = 1
    add(NOBODY, limit, now + LIFETIME, 0)
  else
    for place = #TAG + 1, #bytes, HOLDER_LENGTH do
      add(unpack(HOLDER, bytes, place))
    end
  end
end

local others = sum - (own and holders[own][2] or 0)
local total, left, valid_for = 0, max(limit - sum, 0), 0
local is_late = own and holders[own][4] >= number
if not is_late and (own or #holders < MOST_HOLDERS) then
  left = max(limit - others - keep, 0)
  need = min(need, left)
  extra = min(extra, floor((left - need) / max(share, 1)))
  total, left, valid_for = min(keep + need + extra, 4294967295), left - need - extra, LIFETIME
  if total > 0 then
    holders[own or #holders + 1] = {node, total, now + LIFETIME, number}
  elseif own then
    table.remove(holders, own)
  end
end

local idle_after, parts = 0, {TAG}
for place, holder in ipairs(holders) do
  idle_after = max(idle_after, holder[3] - now)
  parts[place + 1] = pack(HOLDER, holder[1], holder[2], holder[3], holder[4])
end
if idle_after > 0 then
  -- The server counts milliseconds: rounded up, and one more for the part of one that has passed.
  redis.call('SET', KEYS[1], table.concat(parts), 'PX', floor(idle_after / 1000) + 2)
elseif bytes then
  redis.call('DEL', KEYS[1])
end
return {total, left, valid_for, replaced}
