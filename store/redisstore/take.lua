-- Grants all claims or none by GCRA; see store/gcra for the arithmetic, which
-- this follows to the nanosecond. Times are pairs of seconds and nanoseconds,
-- since a double holds no more than 53 bits.
-- KEYS: one per key. ARGV: now, then per claim: key, interval, ceiling, soft.
-- Answers "1" or "0" and what each key held before.
local function less(as, an, bs, bn) return as < bs or (as == bs and an < bn) end
local function sum(as, an, bs, bn)
  local s, n = as + bs, an + bn
  if n >= 1e9 then s, n = s + 1, n - 1e9 end
  return s, n
end

local now_s, now_n = tonumber(ARGV[1]), tonumber(ARGV[2])
local old = redis.call('MGET', unpack(KEYS))
local answer, at_s, at_n = {'1'}, {}, {}
local most_s, most_n = {}, {} -- as far ahead as a claim can put the key
for i = 1, #KEYS do
  answer[i + 1] = old[i] or ''
  local s, n = string.match(answer[i + 1], '^(%d+):(%d+)$')
  at_s[i], at_n[i] = tonumber(s) or now_s, tonumber(n) or now_n
end
for a = 3, #ARGV, 6 do
  local k = tonumber(ARGV[a])
  local is, ina = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local ls, ln = sum(now_s, now_n, tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]))
  if not most_s[k] or less(most_s[k], most_n[k], ls, ln) then most_s[k], most_n[k] = ls, ln end
  local s, n = at_s[k], at_n[k]
  if less(s, n, now_s, now_n) then s, n = now_s, now_n end
  if less(ls, ln, s, n) then s, n = ls, ln end
  s, n = sum(s, n, is, ina)
  if less(ls, ln, s, n) then
    if ARGV[a + 5] == '0' then answer[1] = '0' end
    s, n = ls, ln
  end
  at_s[k], at_n[k] = s, n
end
for i = 1, #KEYS do
  local write = answer[1] == '1'
  if not write then -- only what the clock left behind when it went back
    local s, n = string.match(answer[i + 1], '^(%d+):(%d+)$')
    at_s[i], at_n[i] = most_s[i], most_n[i]
    write = s and less(at_s[i], at_n[i], tonumber(s), tonumber(n))
  end
  if write then
    -- kept ten seconds longer than it limits: clocks differ
    local ms = (at_s[i] - now_s + 10) * 1000 + math.ceil((at_n[i] - now_n) / 1e6)
    redis.call('SET', KEYS[i], string.format('%.0f:%.0f', at_s[i], at_n[i]), 'PX', string.format('%.0f', ms))
  end
end
return answer
