-- Says how the last life ended, and starts the script.

local M = ...
local boot, state = M.boot, M.boot.state

node.setonerror(boot.crashed)
if boot.crash then
  M.line("error", "crash: " .. boot.crash)
  local trace = boot.trace()
  if trace then
    M.send("log", { { level = "error", text = M.clean(trace) } })
  end
end
tmr.create():alarm(1000, tmr.ALARM_AUTO, M.tick)
if state.safe then
  return M.say("safe mode, no script runs: " .. state.safe)
elseif not boot.running then
  return M.say("no script yet")
end
node.task.post(function()
  local run, wrong = loadfile(boot.slot_file(boot.running.slot))
  local fine = run
  if run then
    fine, wrong = xpcall(setfenv(run, part("guard")), function(what)
      local traced, trace = pcall(debug.traceback, tostring(what))
      return traced and trace or what
    end)
  end
  if not fine then
    boot.crashed(wrong)
  end
end)
