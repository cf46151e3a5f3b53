-- Reads config.json. Gives the settings, or nil and a sentence about what is wrong with them.

local function check(config)
  if type(config) ~= "table" then
    return "it is no JSON object"
  end
  local wanted = { { "wifi", "ssid" }, { "hub", "host" }, { "device" }, { "credential" } }
  for _, path in ipairs(wanted) do
    local value = config
    for _, key in ipairs(path) do
      value = type(value) == "table" and value[key]
    end
    local name = table.concat(path, ".")
    if type(value) ~= "string" or value == "" then
      return name .. " is missing: it is a text in double quotes"
    elseif value:find("[%c]") or name == "device" and value:find("[/+#]") then
      return name .. " has a character that cannot be in it"
    end
  end
  if config.hub.host:find("[:/]") then
    return "hub.host is a name or an address, without http:// and without a port"
  end
  for key, usual in pairs({ mqtt = 1883, http = 8080 }) do
    local port = config.hub[key] or usual
    if type(port) ~= "number" or port < 1 or port > 65535 then
      return "hub." .. key .. " is a port: a number from 1 to 65535"
    end
    config.hub[key] = port
  end
  for _, key in ipairs({ "capabilities", "attributes" }) do
    if config[key] ~= nil and type(config[key]) ~= "table" then
      return key .. (key == "capabilities" and " is a list of texts" or " is an object")
    end
  end
end

local text = file.getcontents("config.json")
if not text then
  return nil, "config.json is missing on the board"
end
local fine, config = pcall(sjson.decode, text)
if not fine then
  return nil, "config.json is not JSON: " .. tostring(config)
end
local problem = check(config)
if problem then
  return nil, "config.json: " .. problem
end
return config
