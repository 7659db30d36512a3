-- Gives one unit of each claim back; keys and arguments as in take.lua.
local function less(as, an, bs, bn) return as < bs or (as == bs and an < bn) end
local now_s, now_n = tonumber(ARGV[1]), tonumber(ARGV[2])
local old = redis.call('MGET', unpack(KEYS))
local at_s, at_n = {}, {}
for i = 1, #KEYS do
  local s, n = string.match(old[i] or '', '^(%d+):(%d+)$')
  at_s[i], at_n[i] = tonumber(s) or now_s, tonumber(n) or now_n
end
for a = 3, #ARGV, 6 do
  local k = tonumber(ARGV[a])
  local ls, ln = now_s + tonumber(ARGV[a + 3]), now_n + tonumber(ARGV[a + 4])
  if ln >= 1e9 then ls, ln = ls + 1, ln - 1e9 end
  local s, n = at_s[k], at_n[k]
  if less(s, n, now_s, now_n) then s, n = now_s, now_n end
  if less(ls, ln, s, n) then s, n = ls, ln end
  s, n = s - tonumber(ARGV[a + 1]), n - tonumber(ARGV[a + 2])
  if n < 0 then s, n = s - 1, n + 1e9 end
  if less(s, n, now_s, now_n) then s, n = now_s, now_n end
  at_s[k], at_n[k] = s, n
end
for i = 1, #KEYS do
  if less(now_s, now_n, at_s[i], at_n[i]) then
    local ms = (at_s[i] - now_s + 10) * 1000 + math.ceil((at_n[i] - now_n) / 1e6)
    redis.call('SET', KEYS[i], string.format('%.0f:%.0f', at_s[i], at_n[i]), 'PX', string.format('%.0f', ms))
  else
    redis.call('DEL', KEYS[i])
  end
end
return 1
