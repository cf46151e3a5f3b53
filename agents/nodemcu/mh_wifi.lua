-- Joins the Wi-Fi, and connects to the hub when there is an address.

local M = ...
local config, last_reason = M.config, nil

math.randomseed(node.chipid() + tmr.now())
wifi.eventmon.register(wifi.eventmon.STA_GOT_IP, function(found)
  last_reason = nil
  M.say("Wi-Fi gave the address " .. tostring(found.IP))
  M.connect()
end)
wifi.eventmon.register(wifi.eventmon.STA_DISCONNECTED, function(lost)
  -- The firmware tries again all the time; one line per reason is enough.
  if last_reason ~= lost.reason then
    last_reason = lost.reason
    M.say("no Wi-Fi " .. tostring(lost.SSID) .. ": reason " .. tostring(lost.reason))
  end
end)
wifi.setmode(wifi.STATION)
wifi.sta.config({ ssid = config.wifi.ssid, pwd = config.wifi.password, save = false, auto = true })
config.wifi = nil
