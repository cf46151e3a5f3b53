-- What scripts see: the table `motehub`, and a `print` that the hub hears too.

local M = ...
local console, globals = print, _G

-- Seconds since 1970 that no clock shows which was not set.
local CLOCK_IS_SET = 1600000000

local function text_of(value)
  return type(value) == "string" and value or tostring(value)
end

globals.motehub = {
  version = M.version,
  online = M.online,
  -- Measurements: a table of metric = number, text or boolean. False when too much waits.
  telemetry = function(points)
    if type(points) ~= "table" or next(points) == nil then
      error("telemetry takes a table such as { temperature = 21.5 }", 2)
    end
    -- A board that knows the time says it, because the message may have to wait.
    local seconds = not points.ts and rtctime and rtctime.get() or 0
    points.ts = points.ts or seconds > CLOCK_IS_SET and seconds * 1000 or nil
    local sent = M.send("telemetry", points)
    points.ts = seconds == 0 and points.ts or nil
    return sent
  end,
  event = function(name, data)
    return M.send("event", { name = text_of(name), data = data })
  end,
  -- log(text) or log(level, text), where the level is debug, info, warn or error.
  log = function(level, text)
    if text == nil then
      level, text = "info", level
    end
    console(text_of(text))
    M.line(level, text_of(text))
  end,
  -- Calls run(args) when the hub sends the command; what it returns is the answer.
  on_command = function(name, run)
    M.commands[name] = run
  end,
  -- Sends a value along a wire of a flow, with the id of the message. False when too much waits.
  flow = function(wire, id, value)
    return M.send("flow-out", { w = wire, i = id, v = value == nil and sjson.NULL or value })
  end,
  -- Calls run(wire, id, value) for what comes along the wires of a flow.
  on_flow = function(run)
    part("flow", M, run)
  end,
}

globals.print = function(...)
  console(...)
  local texts = {}
  for index = 1, select("#", ...) do
    texts[index] = tostring((select(index, ...)))
  end
  M.line("info", table.concat(texts, "\t"))
end
