-- Fetches the offered script `M.fetching` in pieces that go straight to flash. A break is resumed where it was.

local M = ...
local job, hub = M.fetching, M.config.hub

-- A piece, and what it is when little memory is free.
local PIECE_BYTES, LITTLE_PIECE_BYTES, LITTLE_HEAP = 1024, 256, 8000
local HEAD_MAX = 1024
local PIECE_SECONDS = 20
-- Attempts in a row that bring nothing new, and the longest pause between them.
local TRIES_MAX, PAUSE_MAX = 8, 30

local fetch

-- After a piece, or what there was of it.
local function after(problem, fatal)
  local now = job.have()
  if job.cancelled then
    return part("apply", M, "withdrawn")
  elseif fatal then
    return part("apply", M, problem .. ", after " .. now .. " of " .. job.size .. " bytes")
  elseif now >= job.size then
    return part("apply", M)
  elseif not problem or now > job.had then
    job.tries, job.had = 0, now
    return fetch()
  end
  job.tries = job.tries + 1
  if job.tries >= TRIES_MAX then
    return part("apply", M, problem .. ", after " .. now .. " of " .. job.size .. " bytes and " .. job.tries
      .. " attempts")
  end
  M.say("download: " .. problem)
  local pause = math.min(PAUSE_MAX, 2 ^ (job.tries - 1))
  tmr.create():alarm(pause * (500 + math.random(1000)), tmr.ALARM_SINGLE, fetch)
end

-- Reads the head of an answer: gives the bytes of the body that follow, or nil, what is wrong, and whether that
-- is for good.
local function understand(head, first)
  local status = tonumber(head:match("^HTTP/1%.%d (%d%d%d)"))
  head = head:lower()
  local begin, stop, total = head:match("\ncontent%-range: *bytes (%d+)%-(%d+)/(%d+)")
  if status == 200 and first == 0 then
    begin, total = "0", head:match("\ncontent%-length: *(%d+)")
    stop = (tonumber(total) or 0) - 1
  elseif not status or status >= 500 or status == 429 or status == 408 then
    return nil, status and "the hub answered " .. status or "the answer is not HTTP"
  elseif status ~= 206 then
    return nil, "the hub answered " .. status .. " for the script", true
  end
  if tonumber(total) ~= job.size then
    return nil, "wrong size: " .. job.size .. " bytes were offered, the hub has " .. tostring(total), true
  elseif tonumber(begin) ~= first then
    return nil, "the hub sent another piece than the one that was asked for"
  end
  return stop - begin + 1
end

-- Asks for the next piece.
function fetch()
  local first = job.have()
  local piece = node.heap() < LITTLE_HEAP and LITTLE_PIECE_BYTES or PIECE_BYTES
  local last = math.min(first + piece, job.size) - 1
  local socket, timer, out = net.createConnection(net.TCP, 0), tmr.create(), nil
  local head, left, done = "", nil, false

  local function finish(problem, fatal)
    if not done then
      done = true
      timer:unregister()
      if out then
        out:close()
      end
      pcall(socket.close, socket)
      node.task.post(function()
        after(problem, fatal)
      end)
    end
  end

  local function body(data)
    data = data:sub(1, left)
    left = left - #data
    if #data > 0 and not out:write(data) then
      finish("the flash is full", true)
    elseif left == 0 then
      finish()
    end
  end

  socket:on("connection", function()
    socket:send(("GET %s HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: Bearer %s\r\nRange: bytes=%d-%d\r\n"
      .. "Connection: close\r\n\r\n"):format(job.path, hub.host, hub.http, M.secret, first, last))
  end)
  socket:on("receive", function(_, data)
    if done then
      return
    elseif left then
      return body(data)
    end
    head = head .. data
    local _, stop = head:find("\r\n\r\n", 1, true)
    if not stop then
      return #head > HEAD_MAX and finish("the answer has too long a head")
    end
    local problem, fatal
    left, problem, fatal = understand(head:sub(1, stop), first)
    if not left then
      return finish(problem, fatal)
    end
    out = file.open(job.name, "a")
    if not out then
      return finish("the flash is full", true)
    end
    data, head = head:sub(stop + 1), nil
    body(data)
  end)
  local function closed()
    finish(left and "the answer ended early" or "no answer from " .. hub.host .. ":" .. hub.http)
  end
  socket:on("disconnection", closed)
  socket:on("reconnection", closed)
  timer:alarm(PIECE_SECONDS * 1000, tmr.ALARM_SINGLE, closed)
  socket:connect(hub.http, hub.host)
end

fetch()
