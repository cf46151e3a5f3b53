//! Changes as they are listed: a device that comes and goes again and again takes one line, not one each time. A board
//! without a script restarts every few seconds, and would leave no room for what people did.
import type { Change } from '../api/contract';

/** The newest change of a line, and how many it stands for. */
export type Line = { change: Change; times: number };

/** Who stayed as it was for longer than this is told of in a line of its own. */
const REST_MS = 10 * 60_000;

/** Folds changes, newest first. What else happened to a device stands between its lines. */
export function fold(changes: Change[]): Line[] {
  const lines: Line[] = [];
  const open = new Map<string, { line: Line; from: number }>();
  for (const change of changes) {
    const at = Date.parse(change.time);
    const known = open.get(change.device ?? '');
    const isPresence = change.kind === 'device_online' || change.kind === 'device_offline';
    if (isPresence && known !== undefined && known.from - at <= REST_MS) {
      known.line.times += 1;
      known.from = at;
      continue;
    }
    const line = { change, times: 1 };
    lines.push(line);
    if (!change.device) continue;
    if (isPresence) open.set(change.device, { line, from: at });
    else open.delete(change.device);
  }
  return lines;
}
