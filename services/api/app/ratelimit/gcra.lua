-- Counts requests on Redis' clock: each of them whole or not at all, in their order.
--
-- ARGV[1], MessagePack: per request its windows, and of each its key, the microseconds that the
-- request adds to what the caller owes, the most that it is admitted with, and the most that may be
-- owed at all.
-- Returns the microseconds owed before each request, per window, as MessagePack.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local owed = {}

for _, windows in ipairs(cmsgpack.unpack(ARGV[1])) do
  local admitted, debts = true, {}
  for number, window in ipairs(windows) do
    local key, need, admissible, most = window[1], window[2], window[3], window[4]
    -- More is owed only after the clock was set back.
    local debt = math.min(math.max((redis.call('GET', key) or now) - now, 0), most)
    owed[#owed + 1] = debt
    debts[number] = math.min(debt + need, most)
    admitted = admitted and debt + need <= admissible
  end
  if admitted then
    for number, debt in ipairs(debts) do
      if debt > 0 then
        local until_paid = string.format('%.0f', now + debt)
        redis.call('SET', windows[number][1], until_paid, 'PX', math.ceil(debt / 1000))
      end
    end
  end
end
return cmsgpack.pack(owed)
