-- Counts requests on Redis' clock: all of one turn of an event loop, each of them whole or not at all.
--
-- ARGV: per request the number of its windows, then per window its key, the microseconds that the
-- request adds to what the caller owes, and the most that may be owed.
-- Returns the microseconds owed before each request, per window.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local owed, at = {}, 1

local function take()
  at = at + 1
  return ARGV[at - 1]
end

while at <= #ARGV do
  local updates, admitted = {}, true
  for _ = 1, tonumber(take()) do
    local key, need, burst = take(), tonumber(take()), tonumber(take())
    -- More than the burst is owed only after the clock was set back.
    local debt = math.min(math.max((redis.call('GET', key) or now) - now, 0), burst)
    owed[#owed + 1] = debt
    admitted = admitted and debt + need <= burst
    updates[#updates + 1] = { key, debt + need }
  end
  if admitted then
    for _, update in ipairs(updates) do
      local key, debt = update[1], update[2]
      if debt > 0 then
        redis.call('SET', key, string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
      end
    end
  end
end
return owed
