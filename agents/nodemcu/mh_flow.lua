-- Gives a script what comes along the wires of flows. It is in memory only if the script wants that.

local M, run = ...

-- An error is logged and costs this message only.
function M.flow_in(message)
  local fine, why = xpcall(function()
    run(message.w, message.i, message.v)
  end, function(why)
    return debug and debug.traceback and debug.traceback(why) or why
  end)
  if not fine then
    for row in tostring(why):gmatch("[^\n]+") do
      M.line("error", row)
    end
  end
end
