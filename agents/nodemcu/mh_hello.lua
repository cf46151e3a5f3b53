-- What is said right after connecting: the credential that worked is kept, the board listens, and announces itself.

local M, client, pump = ...
local boot, config, state = M.boot, M.config, M.boot.state

M.say("connected to " .. config.hub.host .. " as " .. config.device)
if M.secret == state.next then
  state.secret, state.next, M.turn = M.secret, nil, 1
  boot.save()
  M.say("the new credential works")
elseif M.turn > 1 then
  -- Those before it were refused.
  state.next, M.turn = nil, 1
  state.secret = M.secret ~= config.credential and M.secret or nil
  boot.save()
  M.say("the new credential was refused; the old one works")
end

local function announce()
  local attributes, names = {}, {}
  for key, value in pairs(config.attributes or {}) do
    attributes[key] = value
  end
  for name in pairs(M.commands) do
    names[#names + 1] = name
  end
  attributes.commands = #names > 0 and table.concat(names, " ") or nil
  attributes.chip_id = tostring(node.chipid())
  M.send("announce", {
    protocol = 1, model = "nodemcu", firmware = "motehub-agent", version = M.version, reset = boot.reset,
    capabilities = config.capabilities and #config.capabilities > 0 and config.capabilities or nil,
    free_memory = node.heap(), running = boot.running and boot.running.digest or sjson.NULL,
    safe_mode = state.safe and true or false, attributes = attributes,
  }, true, nil, true)
end

local topics = {}
for _, kind in ipairs({ "offer", "command", "credential", "cancel", "flow-in" }) do
  topics[M.prefix .. kind] = 1
end
client:subscribe(topics, function()
  announce()
  part("report", M)
  pump()
end)
