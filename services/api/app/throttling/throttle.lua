-- Counts wrong passwords on Redis' clock, see throttle.py.
--
-- KEYS: wrong passwords of account and address, of the account; the account's known addresses.
-- ARGV: the action; the address; whether it was known; the longest wait, the least time to remember
-- and the time to know an address, in milliseconds; how many addresses to know; and for address and
-- account each how many wrong passwords are free and how many double the wait.
-- "begin" returns how long to wait, whether the address is known, and both counts.

local action, address, was_known = ARGV[1], ARGV[2], ARGV[3] == '1'
local longest, memory, known_for = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local pair = { key = KEYS[1], free = tonumber(ARGV[8]), every = tonumber(ARGV[9]) }
local account = { key = KEYS[2], free = tonumber(ARGV[10]), every = tonumber(ARGV[11]) }

local function growth(of, count)
  if count < of.free then
    return 0
  end
  return math.min(1000 * 2 ^ math.floor((count - of.free) / of.every), longest)
end

local function read(of)
  local count, till = string.match(redis.call('GET', of.key) or '', '^(%d+) (%d+)$')
  -- More than the longest wait is left only after the clock was set back.
  return tonumber(count or 0), math.min(math.max(tonumber(till or 0) - now, 0), longest)
end

local function write(of, count, wait)
  if count < 1 then
    redis.call('DEL', of.key)
  else
    local value = string.format('%d %.0f', count, now + wait)
    redis.call('SET', of.key, value, 'PX', math.max(memory, 4 * growth(of, count)))
  end
end

local function take_back(of)
  local count = read(of)
  -- The try was let in, so there was no wait before it.
  write(of, count - 1, 0)
end

if action == 'begin' then
  local known = (tonumber(redis.call('ZSCORE', KEYS[3], address)) or 0) > now
  local of_pair, wait = read(pair)
  local of_account, others = read(account)
  if not known then
    wait = math.max(wait, others)
  end
  if wait == 0 then
    of_pair = of_pair + 1
    write(pair, of_pair, growth(pair, of_pair))
    if not known then
      of_account = of_account + 1
      write(account, of_account, growth(account, of_account))
    end
  end
  return { wait, known and 1 or 0, of_pair, known and 0 or of_account }
end

if not was_known then
  take_back(account)
end
if action == 'withdraw' then
  take_back(pair)
else
  redis.call('DEL', pair.key)
  -- To the microsecond: of two addresses in one millisecond the last is to stay.
  redis.call('ZADD', KEYS[3], now + known_for + time[2] % 1000 / 1000, address)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -tonumber(ARGV[7]) - 1)
  redis.call('PEXPIRE', KEYS[3], known_for)
end
