-- pylae ledger 1: one call about one key of a limit that several nodes share. Does what crates/core/src/limit/ledger
-- does, number for number; the reasons are there. Times are microseconds; all numbers are whole.
-- KEYS[1]: the state. ARGV: 1 clear it first, 2 algorithm, 3 limit, 4 capacity, 5 period, 6 refill, 7 every, 8 credits,
-- 9 their age, 10 debits, 11 hold what is taken, 12 lease, 13 share, 14 number of used, 15 of returned, 16 of takes;
-- then these lists, as pairs of generation and count, or of cost and count.
-- Returns granted, leased, generation, valid for, left, ready after (-1: never), full after, replaced.
local floor, max, min, sub, pack, unpack = math.floor, math.max, math.min, string.sub, struct.pack, struct.unpack
local EXACT, GENERATION, MOST_RUNS, MOST_COUNT = 9007199254740992, 1000000, 100, 4294967295
local BUCKET, LOG, WINDOW = 1, 2, 3
-- The state: tag, algorithm (and 4, if there are leases), limit, capacity, period; what is charged; the leases: name,
-- turn, held, held of the generation before; of a log, its runs. A state of another version has another tag.
local TAG = 'pl1'
local CHARGED, LEASES, RUN = {'I7I4', 'I4I4', 'I7I5'}, 'I7I7I4I4', '<I7I4'
local HEAD_LENGTH, CHARGED_LENGTH, LEASES_LENGTH, RUN_LENGTH = 19, {11, 8, 12}, 22, 11

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local algorithm, limit, capacity, per, refill, every, most_debt
-- Of a bucket: at, parts. Of a window: until, used. Of a log: used, over.
local one, two, runs = 0, 0, ''
local name, turn, held, held_before
local advance, debt, charge, credit, full_at, ready_at, scale

-- floor(a * b / c) and the remainder. Where a double does not hold the product, by digits of a. The greatest c is the
-- longest period, ten years: less than 2^49.
local function divide(a, b, c)
  local product = a * b
  if product < EXACT then
    local quotient = floor(product / c)
    return quotient, product - quotient * c
  end
  local _, bits = math.frexp(c)
  local base, scale, quotient, rest = 2 ^ max(52 - bits, 1), 1, 0, 0
  local whole = floor(b / c)
  local part = b - whole * c
  while scale * base <= a and scale < EXACT do
    scale = scale * base
  end
  while scale >= 1 do
    local digit = floor(a / scale)
    a, scale = a - digit * scale, scale / base
    rest = rest * base + digit * part
    local more = floor(rest / c)
    rest, quotient = rest - more * c, quotient * base + digit * whole + more
  end
  return quotient, rest
end

local function divide_up(a, b, c)
  local quotient, rest = divide(a, b, c)
  return rest > 0 and quotient + 1 or quotient
end

-- used / from as a share of to.
local function share_of(used, from, to)
  used = min(used, from)
  if to < from then
    return divide_up(to, used, from)
  end
  return (divide(to, used, from))
end

local function set_figures(figures)
  algorithm, limit, capacity, per, refill, every =
    figures[1], figures[2], figures[3], figures[4], figures[5], figures[6]
  most_debt = capacity + max(limit, capacity)
end

local function be_bucket()
  local function add(tokens)
    local parts = two + tokens
    local whole = floor(parts / refill)
    one, two = one + whole * every, parts - whole * refill
  end

  local function be_most(at)
    one, two = at, 0
    add(most_debt)
  end

  function debt(at)
    if one >= at then
      return divide_up(refill, one - at, every) + two
    end
    return two > 0 and max(two - divide(refill, at - one, every), 0) or 0
  end

  function advance(at)
    local tokens = debt(at)
    if tokens == 0 then
      one, two = at, 0
    elseif tokens > most_debt then
      be_most(at)
    end
  end

  function charge(tokens, at)
    advance(at)
    if debt(at) + tokens > most_debt then
      be_most(at)
    else
      add(tokens)
    end
  end

  function credit(tokens)
    add(-min(tokens, debt(now)))
    advance(now)
  end

  function full_at(more)
    local tokens = two + more
    if tokens < 0 then
      return one - divide(-tokens, every, refill)
    end
    return one + divide_up(tokens, every, refill)
  end

  function ready_at(cost, out)
    return max(full_at(out + cost - capacity), now)
  end
end

local function window_end()
  return now - now % per + per
end

local function be_window()
  local function excess(out)
    return min(max(two + out - limit, 0), limit)
  end

  function debt()
    return two
  end

  -- Returns true if another window begins.
  function advance(at, out)
    if one > now + 2 * per then
      one = window_end() + per
    end
    if now < one then
      return false
    end
    two = now < one + per and excess(out) or 0
    one = window_end()
    return true
  end

  function charge(tokens)
    two = min(two + tokens, most_debt)
  end

  function credit(tokens, since)
    if since + per >= one then
      two = max(two - tokens, 0)
    end
  end

  function ready_at(cost, out)
    return excess(out) + cost <= limit and one or one + per
  end

  function full_at(out, at)
    return two + out == 0 and at or ready_at(limit, out)
  end
end

local function be_log()
  -- Replaces each run by what change makes of it; runs of nothing are dropped.
  local function rewrite(change)
    local changed = {}
    for place = 1, #runs, RUN_LENGTH do
      local at, count = change(unpack(RUN, runs, place))
      if count > 0 then
        changed[#changed + 1] = pack(RUN, at, count)
      end
    end
    runs = table.concat(changed)
  end

  local function place_excess(at)
    local count = min(two, max(limit - one, 0))
    if count == 0 then
      return
    end
    one, two = one + count, two - count
    local cell = limit > MOST_RUNS and floor((per + MOST_RUNS - 1) / MOST_RUNS) or 1
    if runs ~= '' then
      local last, more = unpack(RUN, runs, #runs - RUN_LENGTH + 1)
      if floor(last / cell) == floor(at / cell) then
        runs, count = sub(runs, 1, -RUN_LENGTH - 1), count + more
      end
    end
    runs = runs .. pack(RUN, at, count)
  end

  -- The figures have another limit now: the used share stays, and so do the times.
  function scale(from)
    local sum, placed = 0, 0
    rewrite(function(at, count)
      local before = placed
      sum = sum + count
      placed = share_of(sum, from, limit)
      return at, placed - before
    end)
    one, two = placed, share_of(two, from, limit)
  end

  function debt()
    return one + two
  end

  function advance(at)
    if runs == '' then
      return
    end
    local last = unpack(RUN, runs, #runs - RUN_LENGTH + 1)
    if last > at then
      rewrite(function(start, count)
        return max(start - (last - at), 0), count
      end)
    elseif at - last >= 2 * per then
      one, two, runs = 0, 0, ''
      return
    end
    local place = 1
    while place <= #runs do
      local start, count = unpack(RUN, runs, place)
      if at - start < per then
        break
      end
      one, place = one - count, place + RUN_LENGTH
    end
    if place > 1 then
      runs = sub(runs, place)
    end
    place_excess(at)
  end

  function charge(tokens, at)
    advance(at)
    two = two + tokens
    place_excess(at)
    two = min(two, limit)
  end

  function credit(tokens, since)
    if since + per <= now then
      return
    end
    rewrite(function(at, count)
      local part = at >= since and min(tokens, count) or 0
      one, tokens = one - part, tokens - part
      return at, count - part
    end)
    two = max(two - tokens, 0)
    place_excess(now)
  end

  function ready_at(cost, out, missing)
    for place = 1, #runs, RUN_LENGTH do
      local at, count = unpack(RUN, runs, place)
      missing = missing - count
      if missing <= 0 then
        return at + per
      end
    end
    return now + per
  end

  function full_at(out, at)
    if runs == '' and out == 0 then
      return at
    end
    local last = out > 0 and at or unpack(RUN, runs, #runs - RUN_LENGTH + 1)
    return last + (one + two + out > limit and 2 * per or per)
  end
end

local KINDS = {be_bucket, be_log, be_window}

-- Counts a share of the whole as charged. The figures are those of the call.
local function begin(used, whole)
  KINDS[algorithm]()
  runs = ''
  if algorithm == BUCKET then
    one, two = now + share_of(used, whole, divide_up(capacity, every, refill)), 0
  elseif algorithm == WINDOW then
    one, two = window_end(), share_of(used, whole, limit)
  else
    one, two = 0, 0
    local count = share_of(used, whole, limit)
    if count > 0 then
      charge(count, now)
    end
  end
end

-- Reads the state, and returns false if it is none.
local function read(bytes, figures)
  if type(bytes) ~= 'string' or #bytes < HEAD_LENGTH or sub(bytes, 1, #TAG) ~= TAG then
    return false
  end
  local kind = string.byte(bytes, #TAG + 1)
  local leases = kind > 4
  kind = leases and kind - 4 or kind
  if not KINDS[kind] then
    return false
  end
  local runs_at = HEAD_LENGTH + CHARGED_LENGTH[kind] + (leases and LEASES_LENGTH or 0) + 1
  local rest = #bytes - runs_at + 1
  if rest < 0 or rest > 0 and (kind ~= LOG or rest % RUN_LENGTH > 0) then
    return false
  end
  local a, b, c, d, e
  a, b, c, d, e, name, turn, held, held_before =
    unpack('<I4I4I7' .. CHARGED[kind] .. (leases and LEASES or ''), bytes, #TAG + 2)
  if not leases then
    name = nil
  end
  if a == 0 or b == 0 or c == 0 then
    return false
  end
  local f, g = figures[5], figures[6]
  if a ~= figures[2] or c ~= figures[4] then
    local x, y = a, c
    while x > 0 do
      x, y = y % x, x
    end
    f, g = a / y, c / y
  end
  set_figures({kind, a, b, c, f, g})
  one, two, runs = d, e, sub(bytes, runs_at)
  return true
end

-- With figures that were changed meanwhile, more may be held than can be owed.
local function total()
  return name and min(held + held_before, most_debt) or 0
end

local function forget()
  turn = total() > 0 and now + GENERATION or turn
  name, held, held_before = max(now, name + 2), 0, 0
end

local function charge_some(tokens, at)
  if tokens > 0 then
    charge(tokens, at)
  end
end

local function advance_leases()
  if not name or total() == 0 and now >= turn + GENERATION then
    name = nil
    return
  end
  turn = min(turn, now + GENERATION)
  if now < turn then
    return
  end
  local before, count_before = turn, held_before
  if now < turn + GENERATION then
    name, turn, held, held_before = name + 1, turn + GENERATION, 0, held
    charge_some(count_before, before)
  else
    local count = held
    local current = turn + GENERATION
    forget()
    charge_some(count_before, before)
    charge_some(count, current)
  end
end

-- Lowers what is held by what is reported. Returns false if that generation is written off.
local function report(generation, count)
  if not name or generation > name then
    return true
  elseif generation == name then
    held = max(held - count, 0)
  elseif generation + 1 == name then
    held_before = max(held_before - count, 0)
  else
    return false
  end
  return true
end

local function hold(tokens)
  if tokens > 0 then
    if not name then
      name, turn, held, held_before = now, now + GENERATION, 0, 0
    end
    held = held + tokens
  end
end

local function left()
  return max(capacity - debt(now) - total(), 0)
end

-- Counts with the figures of the call from now on: the used share stays.
local function carry_over(figures)
  local from, used, whole = limit, debt(now), limit
  if algorithm == LOG and figures[1] == LOG then
    set_figures(figures)
    scale(from)
    advance(now)
    return
  elseif algorithm == BUCKET then
    used, whole = max(full_at(0) - now, 0), divide_up(capacity, every, refill)
  end
  set_figures(figures)
  begin(used, whole)
end

local function take(first, last, is_held)
  local there, granted, sum, refused = left(), 0, 0, nil
  for place = first, last, 2 do
    local cost, count = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
    local fits = cost > 0 and min(floor(there / cost), count) or count
    granted, sum, there = granted + fits, sum + fits * cost, there - fits * cost
    if fits < count then
      refused = cost
      break
    end
  end
  if is_held then
    hold(sum)
  else
    charge_some(sum, now)
  end
  return min(granted, MOST_COUNT), refused
end

local function ready_after(cost)
  if cost > capacity then
    return -1
  end
  local out = total()
  local missing = debt(now) + out + cost - capacity
  return missing > 0 and max(ready_at(cost, out, missing) - now, 0) or 0
end

-- When the state says nothing any more.
local function idle_at()
  local out, written_off = total(), name and turn + GENERATION or now
  local at = out > 0 and written_off or now
  if algorithm == BUCKET then
    return max(max(full_at(0), at) + divide_up(out, every, refill), written_off)
  end
  return max(full_at(out, at), written_off)
end

local function valid_for()
  local lease_end = name and turn + GENERATION or now
  return (algorithm == WINDOW and min(lease_end, one, now + per) or lease_end) - now
end

local function write()
  local head = TAG .. string.char(name and algorithm + 4 or algorithm)
  if name then
    return head .. pack('<I4I4I7' .. CHARGED[algorithm] .. LEASES, limit, capacity, per, one, two, name, turn, held,
      held_before) .. runs
  end
  return head .. pack('<I4I4I7' .. CHARGED[algorithm], limit, capacity, per, one, two) .. runs
end

local args = {}
for place = 2, 16 do
  args[place - 1] = tonumber(ARGV[place])
end
local bytes = ARGV[1] == '0' and redis.pcall('GET', KEYS[1])
local replaced = 0
if bytes and read(bytes, args) then
  KINDS[algorithm]()
  if algorithm == WINDOW then
    if advance(now, total()) and name then
      forget()
    end
    advance_leases()
  else
    advance_leases()
    advance(now)
  end
  if algorithm ~= args[1] or limit ~= args[2] or capacity ~= args[3] or per ~= args[4] then
    carry_over(args)
  end
else
  set_figures(args)
  begin(0, 1)
  if bytes then
    -- Nobody knows what has been used.
    replaced = 1
    charge(capacity, now)
  end
end

local place = 17
for _ = 1, args[13] do
  local count = tonumber(ARGV[place + 1])
  if report(tonumber(ARGV[place]), count) then
    charge_some(count, now)
  end
  place = place + 2
end
for _ = 1, args[14] do
  report(tonumber(ARGV[place]), tonumber(ARGV[place + 1]))
  place = place + 2
end
if args[7] > 0 then
  credit(args[7], max(now - args[8], 0))
end
charge_some(args[9], now)
local granted, refused = take(place, place + 2 * args[15] - 1, args[10] == 1)
local leased = refused and 0 or min(args[11], floor(left() / max(args[12], 1)))
hold(leased)

local idle_after = idle_at() - now
if idle_after > 0 then
  -- The server counts milliseconds: rounded up, and one more for the part of one that has passed.
  redis.call('SET', KEYS[1], write(), 'PX', floor(idle_after / 1000) + 2)
elseif bytes ~= false or ARGV[1] ~= '0' then
  redis.call('DEL', KEYS[1])
end
local full_after = full_at(total(), now) - now
return {granted, leased, name or 0, valid_for(), left(), ready_after(refused or 1), full_after, replaced}
