-- Runs a command once, and answers. Which ids were run stands in a journal on flash, so that a repeated command
-- is answered and not run again, also after a restart.

local M, command = ...
local boot = M.boot

-- The journal is two files of so many commands; when the newer is full, it takes the place of the older.
local NEWER, OLDER, IDS_MAX = "mh_done.txt", "mh_done0.txt", 16
local REPLY_MAX = 900

local id = command.id
if type(id) ~= "string" or not id:find("^[%w_%-]+$") or #id > 64 then
  return M.say("a command without an id")
end

-- Gives what the journal has on the id (an empty text when it was begun), and how many ids the file has.
local function look_up(name)
  local handle, found, ids = file.open(name, "r"), nil, 0
  if handle then
    repeat
      local entry = handle:readline()
      local known, reply = (entry or ""):match("^(%S+) (.*)\n$")
      ids = ids + (reply == "" and 1 or 0)
      if known == id then
        found = reply
      end
    until not entry
    handle:close()
  end
  return found, ids
end

local found, ids = look_up(NEWER)
found = found or look_up(OLDER)
if found then
  local fine, reply = pcall(sjson.decode, found)
  return M.send("reply", fine and reply
    or { id = id, ok = false, error = "the board restarted while it ran this command" }, true)
end

local function answer(reply)
  local fine, text = pcall(sjson.encode, reply)
  if not fine then
    reply = { id = id, ok = false, error = "the result cannot be said in JSON: " .. tostring(text) }
  elseif #text > REPLY_MAX then
    reply = { id = id, ok = false, error = "the result is longer than " .. REPLY_MAX .. " bytes" }
  end
  boot.write(NEWER, id .. " " .. sjson.encode(reply) .. "\n", "a")
  M.send("reply", reply, true)
end

if ids >= IDS_MAX then
  file.remove(OLDER)
  file.rename(NEWER, OLDER)
end
if not boot.write(NEWER, id .. " \n", "a") then
  return M.send("reply", { id = id, ok = false, error = "the flash is full: the command cannot be noted" }, true)
end
local run = M.commands[command.name] or part("builtin", M, command.name)
if not run then
  local names = {}
  for name in pairs(M.commands) do
    names[#names + 1] = name
  end
  return answer({ id = id, ok = false, error = "no such command; the script has "
    .. (#names > 0 and table.concat(names, ", ") or "none") })
elseif tonumber(command.ttl) and command.ttl <= 0 then
  return answer({ id = id, ok = false, error = "the command came too late" })
end
local fine, result = pcall(run, command.args)
if fine then
  answer({ id = id, ok = true, result = result })
else
  answer({ id = id, ok = false, error = M.clean(tostring(result)):sub(1, 300) })
end
