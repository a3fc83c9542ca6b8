-- pylae lookup 1: what one node has looked up, for all. Times are milliseconds.
-- KEYS[1]: what was found. ARGV: 1 `ask`, `tell` or `fail`, 2 who, 3 how long the look-up may take, or how long what it
-- has found counts, 4 what it has found.
-- `ask` returns 0 if the node is to look itself, 1 with the time that is left and what was found, or 2 if another node
-- is looking.
local DAY = 86400000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local asked, who, span = ARGV[1], ARGV[2], math.max(math.min(tonumber(ARGV[3]), DAY), 1)

local kind, by, begin, ends, found
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' then
  kind, by, begin, ends, found = string.match(value, '^(%a) (%S+) (%d+) (%d+) (.*)$')
end
-- What comes from the future is of a clock that was ahead.
local counts = kind and tonumber(begin) <= now and now < tonumber(ends)

local function put(what, data)
  redis.call('SET', KEYS[1], string.format('%s %s %.0f %.0f %s', what, who, now, now + span, data), 'PX', span)
end

if asked == 'tell' then
  put('f', ARGV[4])
elseif asked == 'fail' then
  if kind == 'c' and by == who then
    redis.call('DEL', KEYS[1])
  end
elseif counts and kind == 'f' then
  return {1, ends - now, found}
elseif counts and kind == 'c' and by ~= who then
  return 2
else
  put('c', '')
end
return 0
