-- The environment of the script: the globals, with a `file` and a `node` that keep the script from hitting the agent
-- by accident. Its files cannot be changed, the last bytes of the flash stay free for its state, and what happens on
-- an error stays with it. The serial console is not concerned, nor is this a wall against ill will.

local RESERVE_BYTES = 4096

local function check(name)
  local plain = tostring(name):gsub("^/+", "")
  if plain == "init.lua" or plain == "config.json" or plain:sub(1, 3) == "mh_" then
    error("the file " .. plain .. " belongs to the agent", 3)
  end
end

local function fits(data)
  return file.fsinfo() >= RESERVE_BYTES + #tostring(data)
end

-- A file object that is opened for writing; a full flash is nil, as in the firmware.
local function guarded(handle)
  return setmetatable({
    write = function(_, data)
      return fits(data) and handle:write(data) or nil
    end,
    writeline = function(_, data)
      return fits(data) and handle:writeline(data) or nil
    end,
  }, { __index = function(_, method)
    return function(_, ...)
      return handle[method](handle, ...)
    end
  end })
end

local script_file = setmetatable({
  open = function(name, mode)
    if not mode or mode == "r" then
      return file.open(name, "r")
    end
    check(name)
    local handle = file.open(name, mode)
    return handle and guarded(handle)
  end,
  close = function(handle)
    if handle then
      return handle:close()
    end
    return file.close()
  end,
  write = function(data)
    return fits(data) and file.write(data) or nil
  end,
  writeline = function(data)
    return fits(data) and file.writeline(data) or nil
  end,
  putcontents = function(name, data)
    check(name)
    return fits(data) and file.putcontents(name, data) or nil
  end,
  remove = function(name)
    check(name)
    return file.remove(name)
  end,
  rename = function(from, to)
    check(from)
    check(to)
    return file.rename(from, to)
  end,
  format = function()
    error("formatting would remove the agent", 2)
  end,
}, { __index = file })

local script_node = setmetatable({ setonerror = function() end }, { __index = node })

return setmetatable({ file = script_file, node = script_node }, { __index = _G, __newindex = _G })
