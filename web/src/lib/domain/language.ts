//! The languages of scripts: their names, and what a new script begins with.

export type ScriptLanguage = 'lua' | 'python';

const LANGUAGES: Record<ScriptLanguage, { name: string; version: string; start: string }> = {
  lua: {
    name: 'Lua',
    version: 'Lua 5.1',
    // `m` is the MQTT connection and `id` the chip id: the firmware makes both before it starts a script.
    start: `-- Tells how long the board runs and how much memory is free, every 5 seconds.
local topic = "devices/" .. id .. "/telemetry"

local function tell()
  m:publish(topic, sjson.encode({ uptime = tmr.time(), heap = node.heap() }), 1, 0)
end

local timer = tmr.create()
timer:register(5000, tmr.ALARM_AUTO, tell)
timer:start()
`,
  },
  python: {
    name: 'Python',
    version: 'MicroPython',
    start: `# Tells how long the board runs and how much memory is free, every 5 seconds.
import gc
import time

import motehub


def tell():
    motehub.telemetry({"uptime": time.ticks_ms() // 1000, "heap": gc.mem_free()})


motehub.every(5, tell)
`,
  },
};

export const SCRIPT_LANGUAGES = Object.keys(LANGUAGES) as ScriptLanguage[];

/** A language by the name that the hub gives it. */
export function scriptLanguage(name: string): ScriptLanguage {
  return name === 'python' ? 'python' : 'lua';
}

export const nameOfLanguage = (language: ScriptLanguage): string => LANGUAGES[language].name;
/** What its sources are checked against. */
export const versionOfLanguage = (language: ScriptLanguage): string => LANGUAGES[language].version;
export const startIn = (language: ScriptLanguage): string => LANGUAGES[language].start;
