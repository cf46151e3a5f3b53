local null = sjson.NULL


local steps, routes, away, heard = {}, {}, {}, {}


local sent = tmr.now() % 8388608 * 64


local timers = {}


local function log(step, why)
  if tostring(why):find("not enough memory") then
    error(why, 0)
  end
  motehub.log("error", step .. ": " .. tostring(why))
end


local function send(wire, value)
  sent = sent + 1
  motehub.flow(wire, sent, value)
end


local function run(source, value, told)
  local queue, first, last, left = { { source, value } }, 1, 1, 1000
  while first <= last do
    local from, value = queue[first][1], queue[first][2]
    queue[first] = nil
    first = first + 1
    if away[from] and not told then --? away
      send(from, value) --? away
    end --? away
    told = false --? away
    for _, step in ipairs(routes[from] or {}) do
      left = left - 1
      if left < 0 then
        return log(step, "one value became more than 1000: the rest is left out")
      end
      local fine, out = pcall(steps[step], value, from)
      if fine and out ~= nil and #sjson.encode({ out }) > 1026 then --? big
        fine, out = false, "what it emits has more than 1024 bytes" --? big
      end --? big
      if not fine then
        log(step, out)
      elseif out ~= nil then
        last = last + 1
        queue[last] = { step, out }
      end
    end
  end
end


local function take(wire, id, value)
  local last = heard[wire]
  if not last then
    return
  end
  for _, had in ipairs(last) do
    if had == id then
      return
    end
  end
  last[#last + 1] = id
  if #last > 8 then
    table.remove(last, 1)
  end
  run(wire, value, true)
end


-- A timer takes less than two hours.
local function after(timer, ms, fire)
  local part = math.min(ms, 6000000)
  timer:alarm(part, tmr.ALARM_SINGLE, function()
    if ms > part then
      after(timer, ms - part, fire)
    else
      fire()
    end
  end)
end


local function every(first, pause, step, read)
  local timer = tmr.create()
  local function fire()
    after(timer, pause, fire) --? long
    timer:alarm(pause, tmr.ALARM_SINGLE, fire) --? short
    local fine, value = pcall(read)
    if fine then
      run(step, value)
    else
      log(step, value)
    end
  end
  timer:alarm(first, tmr.ALARM_SINGLE, fire) --? short
  after(timer, first, fire) --? long
end


local function wait(step, ms, value)
  timers[step] = timers[step] or tmr.create()
  local function fire()
    run(step, value)
  end
  timers[step]:alarm(ms, tmr.ALARM_SINGLE, fire) --? short
  after(timers[step], ms, fire) --? long
end


local function number(value)
  if type(value) == "number" then
    return value
  end
  error("a number is expected", 0)
end


local function word(value)
  if type(value) == "string" then
    return value
  end
  error("a text is expected", 0)
end


local function boolean(value)
  if type(value) == "boolean" then
    return value
  end
  error("true or false is expected", 0)
end


local function whole(value)
  if value - value ~= 0 then
    return null
  end
  return value
end


local function truth(value)
  return value == true or value == "true" or value == "True" or type(value) == "number" and value ~= 0
end


local function part(value, ...)
  for at = 1, select("#", ...) do
    if type(value) ~= "table" then
      return null
    end
    value = value[(select(at, ...))]
  end
  if value == nil then
    return null
  end
  return value
end


local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for name, one in pairs(a) do
    if b[name] == nil or not same(one, b[name]) then
      return false
    end
  end
  for name in pairs(b) do
    if a[name] == nil then
      return false
    end
  end
  return true
end


local function between(value, from, to)
  return number(value) >= from and value <= to
end


local function less(a, b)
  if type(a) == "string" and type(b) == "string" then
    return a < b
  end
  return number(a) < number(b)
end


local function add(a, b)
  if type(a) == "string" and type(b) == "string" then
    if #a + #b > 4096 then
      error("a text of more than 4096 bytes", 0)
    end
    return a .. b
  end
  return whole(number(a) + number(b))
end


local function divide(a, b)
  if b == 0 then
    error("divided by 0", 0)
  end
  return whole(a / b)
end


local function rest(a, b)
  if b == 0 then
    error("divided by 0", 0)
  end
  if math.fmod then
    return math.fmod(a, b)
  end
  local rest = math.abs(a) % math.abs(b)
  return a < 0 and -rest or rest
end


local function item(value, at)
  local one
  if type(value) == "table" then
    if type(at) == "number" and value[1] ~= nil then
      one = value[at + 1]
    elseif type(at) == "string" then
      one = value[at]
    end
  end
  if one == nil then
    error("there is no " .. tostring(at), 0)
  end
  return one
end


local function has(value, name)
  if type(value) ~= "table" or value[1] ~= nil then
    error("it is no object and has no " .. name, 0)
  end
  return value[name] ~= nil
end


local function double(value)
  if type(value) == "string" then
    value = tonumber((value:match("^%s*([-+]?[%d.]+[eE]?[-+]?%d*)%s*$")))
    if not value or value - value ~= 0 then
      error("the text writes no number", 0)
    end
  end
  return number(value)
end


local function int(value)
  value = double(value)
  return value < 0 and math.ceil(value) or math.floor(value)
end


local function text(value)
  if type(value) == "number" and value == math.floor(value) and math.abs(value) < 9e15 then
    return ("%.0f"):format(value + 0)
  elseif value == null then
    return "null"
  elseif type(value) == "table" then
    return sjson.encode(value)
  end
  return tostring(value)
end


local function size(value)
  if type(value) == "string" then
    return (select(2, value:gsub("[^\128-\191]", "")))
  elseif type(value) ~= "table" then
    error("it has no size", 0)
  end
  local count = 0
  for _ in pairs(value) do
    count = count + 1
  end
  return count
end


local function gate(all, wires)
  local last, count = {}, 0
  return function(value, source)
    if last[source] == nil then
      count = count + 1
    end
    last[source] = truth(value)
    if all and count < wires then
      return nil
    end
    for _, one in pairs(last) do
      if one ~= all then
        return not all
      end
    end
    return all
  end
end


-- The fine clock begins anew every half hour.
local function age(one)
  local seconds = tmr.time() - one.seconds
  if seconds > 1000 then
    return seconds * 1000
  end
  return (tmr.now() - one.now) % 2147483648 / 1000
end


local function average(count, window)
  local last = {}
  return function(value)
    last[#last + 1] = { number = number(value), now = tmr.now(), seconds = tmr.time() }
    while #last > count or window and age(last[1]) > window do
      table.remove(last, 1)
    end
    local sum = 0
    for _, one in ipairs(last) do
      sum = sum + one.number
    end
    return whole(sum / #last)
  end
end


local function code(step, source)
  local run, why = loadstring(source .. "\nreturn step", "=" .. step)
  local fine = run ~= nil
  if fine then
    setfenv(run, setmetatable({}, { __index = _G }))
    fine, why = pcall(run)
  end
  if not fine then
    log(step, why)
  end
  return fine and why
end


local function call(step, value)
  local out = step(sjson.decode(sjson.encode({ value }))[1])
  if out ~= nil then
    return sjson.decode(sjson.encode({ out }))[1]
  end
end
