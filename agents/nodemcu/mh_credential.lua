-- A new credential: it is written down, confirmed, and used for the next connection.

local M, message = ...
local secret = message.secret
if type(secret) ~= "string" or secret == "" or #secret > 200 or secret:find("%c") then
  return M.say("a credential that cannot be used")
end
local state = M.boot.state
local before = state.next
state.next, M.turn = secret, 1
if M.boot.save() then
  M.send("credential", { state = "stored" }, true, function()
    M.offline("there is a new credential")
  end)
else
  state.next = before
  M.say("the flash is full: the new credential cannot be written")
end
