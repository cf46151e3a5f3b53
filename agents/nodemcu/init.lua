-- Boot stage of the Motehub agent. It starts the agent and, after it, the user's script. An error in the script, in
-- the agent or in a file that is missing never stops it from coming this far again.

-- The agent sees the firmware's own modules, whatever the script does to its globals later.
local env = { _G = _G }
for name in ([[assert collectgarbage crypto debug error file ipairs loadfile math mqtt net next node pairs
  pcall print rtctime select setfenv setmetatable sjson string table tmr tonumber tostring type wifi
  xpcall]]):gmatch("%S+") do
  env[name] = _G[name]
end

-- Runs a part of the agent, compiled if it can be.
local loadfile, setfenv, error = loadfile, setfenv, error
function env.part(name, ...)
  local run = loadfile("mh_" .. name .. ".lc")
  local problem
  if not run then
    run, problem = loadfile("mh_" .. name .. ".lua")
  end
  if not run then
    error(problem, 0)
  end
  return setfenv(run, env)(...)
end

-- Source files are newer than what was compiled. Without debug information the agent needs much less memory.
local function compile()
  local strip = node.stripdebug or function() end
  strip(3)
  for name in pairs(file.list()) do
    if name:find("^mh_%a+%.lua$") and pcall(node.compile, name) then
      file.remove(name)
    end
  end
  strip(1)
end

local ok, problem = pcall(function()
  compile()
  local boot = env.part("slots")
  env.part("decide", boot)
  env.part("agent", boot)
end)
if not ok then
  print("motehub: the agent does not start: " .. tostring(problem))
  print("motehub: copy its files to the board again; next attempt in a minute")
  tmr.create():alarm(60000, tmr.ALARM_SINGLE, node.restart)
end
