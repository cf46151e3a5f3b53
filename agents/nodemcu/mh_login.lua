-- Picks the credential to log in with: one that is to replace another, one that came from the hub, and the one of
-- config.json. Whichever is refused makes way for the next; `M.turn` counts.

local M = ...
local state, known = M.boot.state, {}
for _, secret in ipairs({ state.next or false, state.secret or false, M.config.credential }) do
  known[#known + 1] = secret or nil
end
if not known[M.turn or 0] then
  M.turn = 1
end
return known[M.turn]
