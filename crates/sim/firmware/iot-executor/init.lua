-- Test firmware of the IoT Executor kind for virtual boards: it polls for a program over HTTP, compiles it to
-- boot.lc, restarts and runs it. It keeps the weak spots of such boards on purpose (no MQTT reconnect, status
-- codes ignored, a second run on a needless wake-up), because a server has to live with them.

id = node.chipid()
print("node " .. id)

s = { ssid = "", pwd = "", mqttbroker = "", domain = "", err = "", boot = "", mqttport = "" }

-- Reads config.txt into s; only what one read gives, which is 1024 bytes.
function LoadX()
  if not file.open("config.txt", "r") then
    return
  end
  local text = file.read() or ""
  file.close()
  for key, value in string.gmatch(text, "([%w%.]+)=([%S ]+)") do
    s[key] = value
  end
end

-- Writes s back, in whatever order the table gives.
function SaveX(note)
  s.err = note
  file.remove("config.txt")
  file.open("config.txt", "w+")
  for key, value in pairs(s) do
    file.writeline(key .. "=" .. value)
  end
  file.flush()
  file.close()
end

-- Fetches the program, compiles it and starts over with it. A failed download leaves the board idle.
function downloadAndCompile()
  filename = "boot"
  ext = ".lua"
  file.remove(filename .. ext)
  file.open(filename .. ext, "w+")
  http.get("http://" .. s.domain .. "/uploads/" .. id .. "/" .. filename .. ext, nil, function(code, body)
    if code < 0 then
      print("download: no answer")
      return
    end
    file.write(body)
    file.flush()
    file.close()
    body = nil
    collectgarbage()
    node.compile(filename .. ext)
    s.boot = filename .. ".lc"
    SaveX("No error")
    node.restart()
  end)
end

-- Asks the server once; the status code does not matter, only the word in the body.
function checkIfScriptUpdateIsPending()
  http.get("http://" .. s.domain .. "/node.php?id=" .. id .. "&update", nil, function(code, body)
    if code < 0 then
      print("poll: no answer")
      node.restart()
    elseif string.find(body, "UPDATE") then
      print("poll: update")
      downloadAndCompile()
    elseif s.boot ~= "" then
      print("poll: run " .. s.boot)
      dofile(s.boot)
    else
      print("poll: nothing to run")
      node.restart()
    end
  end)
end

LoadX()

if s.mqttbroker == "" then
  print("config.txt names no mqttbroker")
else
  wifi.setmode(wifi.STATION)
  station_cfg = { ssid = s.ssid, pwd = s.pwd, save = true }
  wifi.sta.config(station_cfg)
  wifi.sta.autoconnect(1)

  iFail = 0
  local waiting = tmr.create()
  waiting:register(1000, 1, function(timer)
    iFail = iFail + 1
    if iFail == 20 then
      SaveX("no Wi-Fi: " .. s.ssid)
      node.restart()
    end
    if wifi.sta.getip() == nil then
      return
    end
    m = mqtt.Client(id, 120, s.mqttuser, s.mqttpass)
    m:on("message", function(client, topic, data)
      if data ~= nil and tonumber(data) == id then
        print("woken up, the old program is stopped")
        checkIfScriptUpdateIsPending()
      end
    end)
    m:connect(s.mqttbroker, s.mqttport, false, function(client)
      client:subscribe("/mutation/update", 0, function()
        checkIfScriptUpdateIsPending()
      end)
    end)
    timer:unregister()
  end)
  waiting:start()
end
