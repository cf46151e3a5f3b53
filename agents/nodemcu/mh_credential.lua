-- A new credential: it is written down, and used for the next connection, which tells the hub that it arrived.

local M, message = ...
local secret = message.secret
if type(secret) ~= "string" or secret == "" or #secret > 200 or secret:find("%c") then
  return M.say("a credential that cannot be used")
end
local state = M.boot.state
local before = state.next
state.next, M.turn = secret, 1
if M.boot.save() then
  M.offline("there is a new credential")
else
  state.next = before
  M.say("the flash is full: the new credential cannot be written")
end
