-- Commands that every board with the agent has, unless the script has one of the same name. They are the way back
-- in when a script does not run any more.

local M, name = ...

local commands = {}

-- Names and sizes of the files, and the free bytes.
function commands.files()
  return { files = file.list(), free = (file.fsinfo()) }
end

-- Removes a file that is not the agent's: args is its name.
function commands.remove_file(args)
  part("guard").file.remove(tostring(args))
  return not file.exists(tostring(args))
end

-- Restarts the board, a second after the answer.
function commands.restart()
  tmr.create():alarm(1000, tmr.ALARM_SINGLE, M.boot.restart)
  return "restarting"
end

return commands[name]
