-- The agent: keeps the board connected to its hub and carries what the script says and what the hub says. Only
-- what is needed all the time is here; the rest is in parts that are loaded when they are needed, and forgotten
-- again, because a board has 40 kB. `M` is what the parts share.

local boot = ...
local console = print

-- Messages and their bytes that wait for the hub; of the droppable ones the oldest goes first.
local QUEUE_MAX, QUEUE_BYTES_MAX = 24, 6144
-- Log lines that wait, their length, and how many may come at once and per second after that.
local LINES_MAX, LINE_MAX, BURST_MAX, LINES_PER_SECOND = 20, 200, 20, 2
local MESSAGE_MAX = 2048
local KEEP_ALIVE_SECONDS, ACK_SECONDS = 60, 20
-- Attempts to connect: from the first pause to the longest, each shortened or lengthened by chance.
local PAUSE_MIN, PAUSE_MAX = 1, 60
local REPORT_SECONDS = 60
-- A run of this length forgives the crashes before it.
local QUIET_SECONDS = 60
-- Safe mode without a hub that hears of it ends after this, if there is a good script to return to.
local SAFE_SECONDS = 120
-- A script on trial that keeps the board from connecting for so long after its window has failed.
local SILENT_SECONDS = 600

local state = boot.state
local config, problem = part("config")
local M = { boot = boot, config = config, commands = {}, version = "1.0.0" }
local client, online, connecting
local queue, queued_bytes, flying, flying_seconds, dropped = {}, 0, nil, 0, 0
local lines, tokens, lost_lines = {}, BURST_MAX, 0
local pause, healthy, uptime = PAUSE_MIN, 0, 0

function M.say(text)
  console("motehub: " .. text)
end

-- Messages to the hub: one is on its way at a time, the others wait in order.

local function pump()
  if flying or not online or #queue == 0 then
    return
  end
  flying, flying_seconds = table.remove(queue, 1), 0
  local fine, sent = pcall(client.publish, client, M.prefix .. flying.kind, flying.payload, 1, 0, M.acknowledged)
  if not (fine and sent) then
    table.insert(queue, 1, flying)
    flying = nil
  end
end

function M.acknowledged()
  local item = flying
  if item then
    flying = nil
    queued_bytes = queued_bytes - #item.payload
    if item.done then
      item.done()
    end
    pump()
  end
end

-- Makes room in the queue: the oldest message that may be dropped goes.
local function drop()
  for index, item in ipairs(queue) do
    if not item.keep then
      queued_bytes = queued_bytes - #item.payload
      dropped = dropped + 1
      table.remove(queue, index)
      return true
    end
  end
end

-- Sends a message. `keep` makes it outlast others when too much waits; `done` is called when the hub has it.
function M.send(kind, message, keep, done, first)
  local payload = sjson.encode(message)
  while #queue >= QUEUE_MAX or queued_bytes + #payload > QUEUE_BYTES_MAX do
    if not drop() then
      break
    end
  end
  if #queue >= 2 * QUEUE_MAX then
    return false
  end
  table.insert(queue, first and 1 or #queue + 1, { kind = kind, payload = payload, keep = keep, done = done })
  queued_bytes = queued_bytes + #payload
  pump()
  return true
end

-- Only UTF-8 may be in JSON.
function M.clean(text)
  return text:find("[%z\128-\255]") and part("clean", text) or text
end

function M.line(level, text)
  if tokens < 1 then
    lost_lines = lost_lines + 1
    return
  end
  tokens = tokens - 1
  if #lines >= LINES_MAX then
    table.remove(lines, 1)
    lost_lines = lost_lines + 1
  end
  lines[#lines + 1] = { level = level, text = M.clean(text:sub(1, LINE_MAX)) }
end

local function send_lines()
  tokens = math.min(BURST_MAX, tokens + LINES_PER_SECOND)
  if not online or #queue > 4 then
    return
  end
  if lost_lines + dropped > 0 then
    lines[#lines + 1] = { level = "warn", text = lost_lines .. " lines and " .. dropped .. " messages left out" }
    lost_lines, dropped = 0, 0
  end
  if #lines > 0 then
    local batch = lines
    lines = {}
    M.send("log", batch)
  end
end

-- The connection.

function M.retry()
  if connecting then
    return
  end
  connecting = tmr.create()
  connecting:alarm(pause * (500 + math.random(1000)), tmr.ALARM_SINGLE, function()
    connecting = nil
    M.connect()
  end)
  pause = math.min(PAUSE_MAX, pause * 2)
end

function M.offline(reason)
  if client then
    pcall(client.close, client)
  end
  client, online = nil, false
  if flying then
    table.insert(queue, 1, flying)
    flying = nil
  end
  M.say(reason .. "; next attempt in " .. pause .. " s or so")
  M.retry()
end

local function received(topic, data)
  local kind = topic:match("([^/]+)$")
  local fine, message = pcall(sjson.decode, data or "")
  if not fine or type(message) ~= "table" then
    M.line("error", "what came on " .. kind .. " is no JSON object")
  elseif kind == "flow-in" then
    if M.flow_in then
      M.flow_in(message)
    end
  elseif kind == "cancel" then
    if M.fetching and M.fetching.digest == message.digest then
      M.fetching.cancelled = true
    end
  else
    -- The parts `offer`, `command` and `credential`; nothing else has been subscribed to.
    part(kind, M, message)
  end
end

function M.connect()
  if client or connecting then
    return
  elseif not wifi.sta.getip() then
    wifi.setmode(wifi.STATION)
    wifi.sta.connect()
    return M.retry()
  end
  local hub, secret = config.hub, part("login", M)
  local this = mqtt.Client(config.device, KEEP_ALIVE_SECONDS, config.device, secret, 1, MESSAGE_MAX)
  client = this
  this:on("message", function(_, topic, data)
    received(topic, data)
  end)
  this:on("overflow", function(_, topic)
    M.line("error", "a message on " .. topic .. " was longer than " .. MESSAGE_MAX .. " bytes")
  end)
  this:on("offline", function()
    if client == this then
      M.offline("the connection is lost")
    end
  end)
  local function failed(_, code)
    if client == this then
      local refused = code == 4 or code == 5
      M.turn = M.turn + (refused and 1 or 0)
      M.offline(refused and "the hub refused the credential of " .. config.device
        or "the hub at " .. hub.host .. ":" .. hub.mqtt .. " does not answer (" .. tostring(code) .. ")")
    end
  end
  local fine, why = pcall(this.connect, this, hub.host, hub.mqtt, 0, function()
    if client == this then
      online, pause, M.secret = true, PAUSE_MIN, secret
      part("hello", M, this, pump)
    end
  end, failed)
  if not fine then
    failed(nil, why)
  end
end

-- Once a second.

local function watch_trial(trial)
  healthy = healthy + (online and 1 or 0)
  if healthy >= trial.window or boot.slept and online then
    part("trial", M)
  elseif uptime > trial.window + SILENT_SECONDS then
    part("trial", M, "the board could not reach the hub with this script")
  end
end

function M.tick()
  uptime = uptime + 1
  send_lines()
  -- A script that waits for the restart is on trial too, but it does not run yet.
  if state.trial and state.trial == boot.running then
    watch_trial(state.trial)
  end
  if flying then
    flying_seconds = flying_seconds + 1
    if flying_seconds > ACK_SECONDS then
      M.offline("the hub does not acknowledge")
    end
  end
  if online and uptime % REPORT_SECONDS == 0 then
    M.send("telemetry", { free_memory = node.heap() })
  end
  if uptime == QUIET_SECONDS and state.crashes then
    state.crashes = nil
    boot.save()
  end
  if state.safe and state.good and uptime > SAFE_SECONDS then
    state.safe = nil
    boot.restart()
  end
end

function M.online()
  return online or false
end

-- The start.

part("script", M)
if config then
  M.prefix = "devices/" .. config.device .. "/"
  part("wifi", M)
else
  M.say(problem)
end
part("start", M)
