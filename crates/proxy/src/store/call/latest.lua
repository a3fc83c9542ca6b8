-- pylae latest 1: what the file says that was modified last on any node.
-- KEYS[1]: that. ARGV: 1 when the latest file that the node knows was modified (microseconds; 0: it knows none), 2 its
-- digest, 3 its content, or nothing.
-- Returns 0 if the node knows the latest, 2 if its content is needed, or time, digest and content of a later one.
local WEEK = 604800000
local modified, digest, content = tonumber(ARGV[1]), ARGV[2], ARGV[3]

local last, mark, known
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' then
  last, mark, known = string.match(value, '^(%d+) (%x+) (.*)$')
end
last, mark = tonumber(last or 0), mark or '0'

if modified > last or (modified == last and digest > mark) then
  if content == '' then
    return 2
  end
  redis.call('SET', KEYS[1], string.format('%.0f %s %s', modified, digest, content), 'PX', WEEK)
elseif known then
  redis.call('PEXPIRE', KEYS[1], WEEK)
  if modified ~= last or digest ~= mark then
    return {string.format('%.0f', last), mark, known}
  end
end
return 0
