-- Reports temperature, the door contact and free memory every two seconds.
local topic = "devices/" .. node.chipid() .. "/telemetry"

local function report()
  local raw = adc.read(0)
  m:publish(topic, sjson.encode({
    temperature = math.floor((15 + raw / 64) * 100) / 100,
    door_open = gpio.read(1) == 1,
    free_bytes = node.heap(),
  }), 1, 0)
end

gpio.mode(1, gpio.INPUT)
tmr.create():alarm(2000, tmr.ALARM_AUTO, report)
report()
