-- Reports the end of a script's task. The report stays in the state until the hub has it, so that it outlasts a
-- power cut. Without a digest, sends what waits there.

local M, digest, task_state, reason = ...
local boot, state = M.boot, M.boot.state

if digest then
  M.say("script " .. digest:sub(8, 19) .. ": " .. task_state .. (reason and ", " .. reason or ""))
  state.report = { digest = digest, state = task_state, reason = reason }
  boot.save()
end
local waiting = state.report
if not waiting or M.reporting then
  return
end
local message = {}
for key, value in pairs(waiting) do
  message[key] = value
end
message.reason = waiting.reason and M.clean(waiting.reason)
message.traceback = waiting.traceback and M.clean(boot.trace() or "") or nil
M.reporting = true
M.send("task", message, true, function()
  M.reporting = nil
  if state.report ~= waiting then
    return part("report", M)
  end
  state.report = nil
  if state.safe and state.good then
    M.say("the hub knows; the last good script runs again")
    state.safe = nil
    return boot.restart()
  end
  boot.save()
end)
