-- Blinks a lamp and says whether it is on.
local PIN = 4
local topic = "devices/" .. node.chipid() .. "/telemetry"
local on = false

gpio.mode(PIN, gpio.OUTPUT)
tmr.create():alarm(3000, tmr.ALARM_AUTO, function()
  on = not on
  gpio.write(PIN, on and gpio.HIGH or gpio.LOW)
  m:publish(topic, sjson.encode({ on = on }), 1, 0)
end)
