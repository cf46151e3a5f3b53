//! What devices are given, in a few words: «blink v3» for a script, «light 1.2.0» for a firmware.
import type { FirmwareRef, PendingRef, ScriptRef, Task } from '../api/contract';

export function scriptText(script: Pick<ScriptRef, 'name' | 'version'>): string {
  return `${script.name} v${script.version}`;
}

export function firmwareText(firmware: Pick<FirmwareRef, 'name' | 'version'>): string {
  return `${firmware.name} ${firmware.version}`;
}

export function pendingText(pending: Pick<PendingRef, 'name' | 'version' | 'firmware'>): string {
  if (pending.firmware) return firmwareText(pending.firmware);
  return pending.version === null ? pending.name : `${pending.name} v${pending.version}`;
}

type Brought = Pick<Task, 'script_name' | 'version' | 'firmware'>;

/** What a task or a deployment brings; nothing if each device gets its own or it was deleted. */
export function broughtText(task: Brought): string | null {
  if (task.firmware) return firmwareText(task.firmware);
  return task.script_name === null ? null : `${task.script_name} v${task.version ?? '?'}`;
}

/** What a device ran before a task. */
export function previousText(task: Pick<Task, 'previous' | 'previous_firmware'>): string | null {
  if (task.previous_firmware) return firmwareText(task.previous_firmware);
  return task.previous ? scriptText(task.previous) : null;
}
