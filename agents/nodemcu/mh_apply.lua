-- After a download: checks the digest and starts the script on trial, or gives up for `problem`.

local M, problem = ...
local boot, state, job = M.boot, M.boot.state, M.fetching

-- A script on trial may be running though its slot has been given away; then the good one comes back.
local function settle()
  local good = state.good and state.good.digest
  if boot.running and boot.running.digest ~= good and not state.safe then
    boot.restart()
  end
end

local function give_up(reason)
  M.fetching, state.fetch = nil, nil
  file.remove(job.name)
  part("report", M, job.digest, "Failed", reason)
  settle()
end

if job.cancelled then
  local waiting = M.waiting
  M.fetching, M.waiting, state.fetch = nil, nil, nil
  file.remove(job.name)
  boot.save()
  M.say("the offer was withdrawn")
  return waiting and part("offer", M, waiting) or settle()
elseif problem then
  return give_up(problem)
end

local found = crypto.fhash("sha256", job.name):gsub(".", function(byte)
  return ("%02x"):format(byte:byte())
end)
if "sha256:" .. found ~= job.digest then
  if job.from == 0 then
    return give_up("wrong digest: the hub sent sha256:" .. found)
  end
  -- What was there before the break may be to blame: once more from the start.
  job.from, job.had = 0, 0
  file.remove(job.name)
  return part("fetch", M)
end
M.fetching = nil
state.trial = { slot = job.slot, digest = job.digest, window = job.window }
state.fetch, state.safe, state.crashes = nil, nil, nil
if not boot.save() then
  state.trial, M.fetching = nil, job
  return give_up("the flash is full: the state cannot be written")
end
local timer = tmr.create()
local function restart()
  timer:unregister()
  boot.restart()
end
M.say("script " .. job.digest:sub(8, 19) .. ": Applying")
M.send("task", { digest = job.digest, state = "Applying" }, true, restart)
timer:alarm(5000, tmr.ALARM_SINGLE, restart)
