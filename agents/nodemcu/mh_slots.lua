-- What a board keeps on its flash: two slots for scripts and the state file. Returns the table `boot`, which lives
-- as long as the agent.

-- Longest error and traceback that are kept, in bytes.
local TRACE_MAX = 1000
local CRASH, TRACE = "mh_crash.txt", "mh_trace.txt"

local boot = {}

-- The state is written in turns to two files, so that one of them is whole whenever the power goes.
local function state_file(number)
  return "mh_state" .. number % 2 .. ".json"
end

boot.state = { number = 0 }
for number = 0, 1 do
  local fine, found = pcall(sjson.decode, file.getcontents(state_file(number)) or "")
  if fine and type(found) == "table" and type(found.number) == "number" and found.number > boot.state.number then
    boot.state = found
  end
end

-- Writes a file, or to its end with mode "a". False when the flash is full.
function boot.write(name, text, mode)
  local handle = file.open(name, mode or "w")
  local written = handle and handle:write(text)
  if handle then
    handle:close()
  end
  return written or false
end

function boot.save()
  local state = boot.state
  state.number = state.number + 1
  return boot.write(state_file(state.number), sjson.encode(state))
end

function boot.slot_file(slot)
  return "mh_slot" .. slot .. ".lua"
end

-- Restarts the board on the agent's own account, which is no crash.
function boot.restart()
  boot.state.own = true
  boot.save()
  node.restart()
end

-- The error and traceback of the last crash, if the script left one.
function boot.trace()
  return file.getcontents(TRACE)
end

-- Ends this life because of an error in Lua. The next one reads what happened.
function boot.crashed(problem)
  collectgarbage()
  boot.write(CRASH, tostring(problem):sub(1, TRACE_MAX))
  print("motehub: crash: " .. tostring(problem))
  node.restart()
end

return boot
