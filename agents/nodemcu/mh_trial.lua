-- Ends the trial of a script: it is the good one from now on, or `reason` says why it is not.

local M, reason = ...
local boot, state = M.boot, M.boot.state
local trial = state.trial
state.trial, state.crashes = nil, nil
if reason then
  part("report", M, trial.digest, "Failed", reason)
  boot.restart()
else
  trial.window, trial.crashes = nil, nil
  state.prev, state.good = state.good, trial
  part("report", M, trial.digest, "Done")
end
