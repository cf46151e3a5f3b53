-- An offer of a script: decides whether and where to fetch it.

local M, offer = ...
local boot, state = M.boot, M.boot.state

local SCRIPT_MAX = 65536
-- What stays free on the flash for the state.
local SPARE_BYTES = 3072

local digest, size, path = offer.digest, offer.size, offer.path
if type(digest) ~= "string" or #digest ~= 71 or not digest:find("^sha256:%x+$") then
  return M.say("an offer without a digest")
end
local function refuse(reason)
  return part("report", M, digest, "Failed", reason)
end

if state.report and state.report.digest == digest or M.fetching and M.fetching.digest == digest then
  -- The hub does not know yet what became of it, or it is on its way.
  return
elseif state.trial and state.trial.digest == digest then
  return M.send("task", { digest = digest, state = "Applying" }, true)
elseif state.good and state.good.digest == digest and not state.trial and not state.safe then
  return part("report", M, digest, "Done")
elseif type(size) ~= "number" or size < 1 or size > SCRIPT_MAX then
  return refuse("a script of " .. tostring(size) .. " bytes; 1 to " .. SCRIPT_MAX .. " are possible")
elseif type(path) ~= "string" or not path:find("^/[%w/:._%-]+$") then
  return refuse("the path of the offer cannot be asked for")
elseif M.fetching then
  -- A newer offer: the download under way ends first.
  M.fetching.cancelled, M.waiting = true, offer
  return
end

local slot = state.good and state.good.slot == 1 and 2 or 1
local name = boot.slot_file(slot)
local function have()
  local stat = file.stat(name)
  return stat and stat.size or 0
end
-- What is there may be the beginning of this script, or all of it: the one that ran before.
local before, prev = state.fetch, state.prev
local known = before and before.digest == digest and before.slot == slot
  or prev and prev.digest == digest and prev.slot == slot
if not known or have() > size then
  file.remove(name)
end
local from = have()
local free = file.fsinfo()
state.fetch, state.prev, state.trial = { digest = digest, slot = slot }, nil, nil
boot.save()
M.fetching = { digest = digest, size = size, path = path, slot = slot, name = name, have = have, from = from,
  had = from, tries = 0, window = tonumber(offer.health_window) or 30 }
if free < size - from + SPARE_BYTES then
  return part("apply", M, "the flash is full: the script needs " .. size - from .. " bytes, " .. free .. " are free")
end
local reason = from > 0 and "goes on at byte " .. from .. " of " .. size or nil
M.say("script " .. digest:sub(8, 19) .. ": Fetching" .. (reason and ", " .. reason or ""))
M.send("task", { digest = digest, state = "Fetching", reason = reason }, true)
part(from == size and "apply" or "fetch", M)
