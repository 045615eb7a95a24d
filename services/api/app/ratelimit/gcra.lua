-- The generic cell rate algorithm on Redis' clock, for all requests of one turn of an event loop.
--
-- ARGV: per request the number of its checks, then per check its key, its cost and the number of its
-- windows, then per window microseconds between two requests and the burst in microseconds.
-- Returns per request whether it is admitted and the microseconds to wait, then per check the
-- requests left, the microseconds until all are back, and whether it refuses.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer, at = {}, 1

local function take()
  at = at + 1
  return ARGV[at - 1]
end

while at <= #ARGV do
  local updates, standings, allowed, wait = {}, {}, 1, 0
  for _ = 1, tonumber(take()) do
    local key, cost, refused, remaining, reset = take(), tonumber(take()), 0, nil, 0
    for window = 1, tonumber(take()) do
      local emission, burst = tonumber(take()), tonumber(take())
      local name = 'listo:limit:' .. key .. ':' .. window
      local arrival = math.max(tonumber(redis.call('GET', name) or now), now)
      local after = arrival + cost * emission
      if after - now > burst then
        allowed, refused = 0, 1
        wait = math.max(wait, after - now - burst)
        after = arrival
      else
        updates[#updates + 1] = { name, after }
      end
      local left = math.floor((burst - (after - now)) / emission)
      if not remaining or left < remaining then
        remaining, reset = left, after - now
      end
    end
    standings[#standings + 1] = { remaining or 0, reset, refused }
  end
  if allowed == 1 then
    for _, update in ipairs(updates) do
      local life = math.ceil((update[2] - now) / 1000)
      redis.call('SET', update[1], string.format('%.0f', update[2]), 'PX', math.max(life, 1))
    end
  end
  answer[#answer + 1] = allowed
  answer[#answer + 1] = wait
  for _, standing in ipairs(standings) do
    for _, value in ipairs(standing) do
      answer[#answer + 1] = value
    end
  end
end
return answer
