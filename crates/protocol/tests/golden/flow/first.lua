-- Steps of flows. Motehub writes this anew whenever they change.
local F1 = "01hf7yat000000000000000001/"
local null = sjson.NULL
local steps, routes, away, heard = {}, {}, {}, {}
local sent = tmr.now() % 8388608 * 64

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
    if away[from] and not told then
      send(from, value)
    end
    told = false
    for _, step in ipairs(routes[from] or {}) do
      left = left - 1
      if left < 0 then
        return log(step, "one value became more than 1000: the rest is left out")
      end
      local fine, out = pcall(steps[step], value, from)
      if not fine then
        log(step, out)
      elseif out ~= nil then
        last = last + 1
        queue[last] = { step, out }
      end
    end
  end
end

local function every(first, pause, step, read)
  local timer = tmr.create()
  local function fire()
    timer:alarm(pause, tmr.ALARM_SINGLE, fire)
    local fine, value = pcall(read)
    if fine then
      run(step, value)
    else
      log(step, value)
    end
  end
  timer:alarm(first, tmr.ALARM_SINGLE, fire)
end

local function number(value)
  if type(value) == "number" then
    return value
  end
  error("a number is expected", 0)
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

every(1000, 5000, F1 .. "th", function()
  local status, temperature, humidity = dht.read(4)
  if status ~= dht.OK then
    error("the sensor does not answer", 0)
  end
  return { temperature = temperature, humidity = humidity }
end)

steps[F1 .. "warm"] = function(value)
  return number(part(value, "temperature")) > 20
end

routes[F1 .. "th"] = { F1 .. "warm" }
away[F1 .. "th"] = true
away[F1 .. "warm"] = true
