-- A light that takes commands: {"name":"light","args":"on"}, "off", or a brightness from 0 to 100.
local PIN = 2
local brightness = 0
gpio.mode(PIN, gpio.OUTPUT)

local function show()
  gpio.write(PIN, brightness > 0 and gpio.LOW or gpio.HIGH)
  motehub.telemetry({ light = brightness > 0, brightness = brightness, ambient = adc.read(0) })
end

motehub.on_command("light", function(args)
  local wanted = args == "on" and 100 or args == "off" and 0 or tonumber(args)
  if not wanted or wanted < 0 or wanted > 100 then
    error("on, off or a brightness from 0 to 100", 0)
  end
  brightness = wanted
  show()
  print("brightness is " .. brightness)
  return { brightness = brightness }
end)

tmr.create():alarm(5000, tmr.ALARM_AUTO, show)
show()
print("light is ready")
