-- pylae registrations 1: who is registered with a service, as all nodes have heard. Times are milliseconds.
-- A version that writes something else takes another name for the script, and so for its keys.
-- KEYS[1]: a hash with a registration for each name; the field '' has what is true of all.
-- ARGV: 1 a name for another epoch, 2 epoch and 3 version that the node has, 4 the node, 5 the most registrations; then
-- of each operation: name, age (-1: the node repeats what it was told), age of the registration in it (-1: it is only a
-- beat), left, ttl (0: removed), data.
-- Returns epoch, version, and if the node has another version or an operation did not count: name, left, ttl and data
-- of each registration.
local KEEP, DAY, MOST_REMOVED, PATIENCE = 86400000, 86400000, 4096, 3000
local floor, max, min = math.floor, math.max, math.min

local time = redis.call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local node, most = ARGV[4], tonumber(ARGV[5])

local head = redis.pcall('HGET', KEYS[1], '')
local epoch, version, last, due, number
if type(head) == 'string' then
  epoch, version, last, due, number = string.match(head, '^(%S+) (%d+) (%d+) (%d+) (%d+)$')
end
local before = epoch and head
if not epoch then
  -- Nobody has asked yet, or the store has forgotten it.
  redis.call('DEL', KEYS[1])
  epoch, version, last, due, number = ARGV[1], 0, now, 0, 0
end
version, last, due, number = tonumber(version), tonumber(last), tonumber(due), tonumber(number)

-- A registration: when it was made, when it ends, how long it lasts without a beat (0: it was removed), who said so.
local function read(value)
  local at, ends, ttl, by, data = string.match(value, '^(%d+) (%d+) (%d+) (%S+) (.*)$')
  if not at then
    return nil
  end
  at, ends, ttl = tonumber(at), tonumber(ends), tonumber(ttl)
  -- The clock may have been ahead: what it said is older than anything, and nothing lasts longer than it may.
  local latest = now + (ttl > 0 and max(ttl, PATIENCE) or DAY)
  return {at = at > now and 0 or at, ends = min(ends, latest), ttl = ttl, by = by, data = data}
end

local function write(name, at, ends, ttl, by, data)
  redis.call('HSET', KEYS[1], name, string.format('%.0f %.0f %.0f %s %s', at, ends, ttl, by, data))
  due = min(due, ends)
end

local function all()
  local found, fields = {}, redis.call('HGETALL', KEYS[1])
  for place = 1, #fields, 2 do
    if fields[place] ~= '' then
      found[#found + 1] = {fields[place], read(fields[place + 1])}
    end
  end
  return found
end

-- While no node could ask, no beat could be passed on either: that time does not count.
local gap = now - last
local was_away = gap > PATIENCE
if now >= due or was_away or gap < 0 then
  due, number = now + DAY, 0
  for _, item in ipairs(all()) do
    local name, one = item[1], item[2]
    if one and was_away and one.ttl > 0 and one.ends > last then
      one.ends = max(one.ends + gap, now + PATIENCE)
      write(name, one.at, one.ends, one.ttl, one.by, one.data)
    end
    if not one or one.ends <= now then
      redis.call('HDEL', KEYS[1], name)
      version = version + ((one and one.ttl == 0) and 0 or 1)
    else
      number = number + (one.ttl > 0 and 1 or 0)
      due = min(due, one.ends)
    end
  end
end

local must_list = false

local function remove(name, known, at, left)
  if known and known.ttl > 0 then
    number, version = number - 1, version + 1
  end
  if redis.call('HLEN', KEYS[1]) - number < MOST_REMOVED then
    write(name, at, now + left, 0, node, '')
  else
    redis.call('HDEL', KEYS[1], name)
  end
end

local function register(name, known, at, left, ttl, data)
  local is_there = known and known.ttl > 0
  if not is_there and number >= most then
    must_list = true
    return
  end
  if not is_there then
    number = number + 1
  end
  if not is_there or known.data ~= data or known.ttl ~= ttl then
    version = version + 1
  end
  write(name, at, now + left, ttl, node, data)
end

-- The later operation counts, and a node says its own in their order. A beat does not bring back what was removed.
local function counts(known, at, registered)
  if not known then
    return true
  elseif not at then
    return false
  elseif known.ttl == 0 then
    at = registered
  end
  return at and (at >= known.at or known.by == node)
end

local function time_of(age)
  age = tonumber(age)
  return age >= 0 and max(now - age, 0) or nil
end

for place = 6, #ARGV, 6 do
  local name, at, registered = ARGV[place], time_of(ARGV[place + 1]), time_of(ARGV[place + 2])
  local left, ttl, data = max(min(tonumber(ARGV[place + 3]), DAY), 1), tonumber(ARGV[place + 4]), ARGV[place + 5]
  local value = redis.call('HGET', KEYS[1], name)
  local known = value and read(value)
  if counts(known, at, registered) then
    at = max(at or 0, known and known.at or 0)
    if ttl == 0 then
      remove(name, known, at, left)
    else
      register(name, known, at, left, ttl, data)
    end
  elseif known.ttl ~= ttl or known.data ~= data then
    must_list = true
  end
end

head = string.format('%s %.0f %.0f %.0f %.0f', epoch, version, now, due, number)
if #ARGV > 5 or not before or gap >= 500 or gap < 0 then
  redis.call('HSET', KEYS[1], '', head)
  redis.call('PEXPIRE', KEYS[1], KEEP)
else
  local same = string.format('%s %.0f %.0f %.0f %.0f', epoch, version, last, due, number)
  if same ~= before then
    redis.call('HSET', KEYS[1], '', same)
  end
end

if not must_list and ARGV[2] == epoch and tonumber(ARGV[3]) == version then
  return {epoch, version, false}
end
local listed = {}
for _, item in ipairs(all()) do
  local name, one = item[1], item[2]
  if one and one.ttl > 0 then
    listed[#listed + 1] = {name, one.ends - now, one.ttl, one.data}
  end
end
return {epoch, version, listed}
