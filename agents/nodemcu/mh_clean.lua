-- Makes a text valid UTF-8 without NUL: other bytes become question marks.

local text = ...
local out, at = {}, 1
while at <= #text do
  local byte = text:byte(at)
  local more = byte == 0 and -1 or byte < 128 and 0 or byte >= 194 and byte < 224 and 1
    or byte >= 224 and byte < 240 and 2 or byte >= 240 and byte < 245 and 3 or -1
  local tail = text:sub(at + 1, at + more)
  local whole = more >= 0 and #tail == more and not tail:find("[^\128-\191]")
  out[#out + 1] = whole and text:sub(at, at + more) or "?"
  at = at + 1 + (whole and more or 0)
end
return table.concat(out)
