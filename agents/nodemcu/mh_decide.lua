-- Decides at each boot what runs, and counts crashes.

local boot = ...

-- So many crashes without a quiet minute between them put the board into safe mode; so many crashes of a script
-- on trial, however slow, bring the last good one back.
local CRASHES_MAX = 3
local CRASH, TRACE = "mh_crash.txt", "mh_trace.txt"
local RESETS = { [0] = "power on", "hardware watchdog", "exception", "watchdog", "restart", "deep sleep",
  "reset button" }

-- Why the last life ended, if the script is to blame.
local function blame(code, cause)
  local own = boot.state.own
  if own then
    boot.state.own = nil
    boot.save()
  end
  if file.exists(CRASH) then
    file.remove(TRACE)
    file.rename(CRASH, TRACE)
    return ((boot.trace() or ""):match("^[^\r\n]+") or "an error without a message"):sub(1, 200)
  end
  local reason
  if code == 1 or code == 3 then
    reason = "the watchdog reset the board: the script did not give control back"
  elseif code == 2 then
    reason = "exception " .. tostring(cause) .. " in the firmware"
  elseif code == 4 and not own then
    reason = "the script restarted the board"
  end
  if reason then
    -- An old traceback would tell of another crash.
    file.remove(TRACE)
  end
  return reason
end

-- Counts a crash; at the limit the script before this one comes back, after safe mode if they came fast.
local function count(reason)
  local state, trial = boot.state, boot.state.trial
  state.crashes = (state.crashes or 0) + 1
  if trial then
    trial.crashes = (trial.crashes or 0) + 1
  end
  local fast = state.crashes >= CRASHES_MAX
  if fast or trial and trial.crashes >= CRASHES_MAX then
    local run = trial or state.good
    state.report = { digest = run.digest, state = "Failed", reason = reason, traceback = file.exists(TRACE),
      crashes = trial and trial.crashes or state.crashes, safe_mode = fast }
    if trial then
      state.trial = nil
    else
      state.good, state.prev = state.prev, nil
    end
    state.crashes = nil
    if fast then
      state.safe = reason
    end
  end
  if not boot.save() then
    -- Nothing can be counted, so nothing that may crash runs in this life.
    state.safe = reason .. "; the flash is full: the crash cannot be counted"
  end
end

local state = boot.state
local _, code, cause = node.bootreason()
boot.reset = RESETS[code] or "unknown"
boot.slept = code == 5
boot.crash = blame(code, cause)
if boot.crash and not state.safe and (state.trial or state.good) then
  count(boot.crash)
end
if not state.safe then
  boot.running = state.trial or state.good
end
