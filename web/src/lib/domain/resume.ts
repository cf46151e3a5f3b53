//! The live link as a pure machine: what a frame means, where to resume from, how long to wait before
//! trying again.
import type { Change } from '../api/contract';
import type { Shadow } from './shadow';

export type TelemetryFrame = Record<string, [metric: string, time: number, value: unknown][]>;
/** New lines of watched devices, by device. */
export type LogFrame = Record<string, [level: string, at: number, text: string][]>;
/** The shadow of a watched device as it is now. */
export type ShadowFrame = Record<string, Shadow>;
/** Of the flow that is followed: the wires whose counts changed, or that it is placed otherwise than before. */
export type FlowFrame = {
  flow: string;
  wires?: [from: string, to: string, messages: number, value: unknown][];
  placement?: boolean;
};
export type Meaning =
  | { kind: 'hello' }
  | { kind: 'changes'; changes: Change[] }
  | { kind: 'resync' }
  | { kind: 'telemetry'; telemetry: TelemetryFrame }
  | { kind: 'inbox'; waiting: number }
  | { kind: 'log'; log: LogFrame }
  | { kind: 'shadow'; shadow: ShadowFrame }
  | { kind: 'flow'; flow: FlowFrame }
  | { kind: 'unknown' };
/** What the browser has, and what the hub had when the link was opened. */
export type Position = { seq: number | null; hub: number | null };
export type Reading = { position: Position; meaning: Meaning };

const WAIT_FIRST_MS = 500;
const WAIT_MAX_MS = 20_000;
/** The hub says something every five seconds; a link or a stream that is silent for so long is dead. */
export const SILENCE_MAX_MS = 15_000;

/**
 * A failed attempt soon after the last one waits up to twice as long; `random` (0..1) spreads many
 * browsers.
 */
export function waitBefore(attempt: number, random: number): number {
  const ceiling = Math.min(WAIT_MAX_MS, WAIT_FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** The path to open: with the last known sequence number, so that nothing in between is lost. */
export function pathAfter(seq: number | null): string {
  return seq === null ? '/api/v1/live' : `/api/v1/live?after=${seq}`;
}

/** Reads one frame, given where the browser is. Changes that were already seen are left out. */
export function readFrame(text: string, position: Position): Reading {
  const frame = parse(text);
  if (frame === null) return { position, meaning: { kind: 'unknown' } };
  if ('hello' in frame) return readHello(numberIn(frame.hello, 'seq'), position);
  if ('resync' in frame) return { position: { ...position, seq: position.hub }, meaning: { kind: 'resync' } };
  if ('changes' in frame && Array.isArray(frame.changes)) {
    const seen = position.seq;
    const changes = (frame.changes as Change[]).filter((change) => seen === null || change.seq > seen);
    const last = numberIn(frame, 'seq') ?? changes.at(-1)?.seq ?? 0;
    return {
      position: { ...position, seq: Math.max(last, seen ?? 0) },
      meaning: { kind: 'changes', changes },
    };
  }
  if ('telemetry' in frame) {
    return { position, meaning: { kind: 'telemetry', telemetry: frame.telemetry as TelemetryFrame } };
  }
  if ('log' in frame) return { position, meaning: { kind: 'log', log: frame.log as LogFrame } };
  if ('shadow' in frame) {
    return { position, meaning: { kind: 'shadow', shadow: frame.shadow as ShadowFrame } };
  }
  if (typeof frame.flow === 'string')
    return { position, meaning: { kind: 'flow', flow: frame as FlowFrame } };
  if ('inbox' in frame) {
    return { position, meaning: { kind: 'inbox', waiting: numberIn(frame.inbox, 'waiting') ?? 0 } };
  }
  return { position, meaning: { kind: 'unknown' } };
}

/** A hub that is behind us has another history, such as a data folder put back from a copy. */
function readHello(hub: number | null, position: Position): Reading {
  if (position.seq === null || hub === null)
    return { position: { seq: hub, hub }, meaning: { kind: 'hello' } };
  if (hub < position.seq) return { position: { seq: hub, hub }, meaning: { kind: 'resync' } };
  return { position: { seq: position.seq, hub }, meaning: { kind: 'hello' } };
}

function parse(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function numberIn(value: unknown, name: string): number | null {
  if (typeof value !== 'object' || value === null) return null;
  const found = (value as Record<string, unknown>)[name];
  return typeof found === 'number' ? found : null;
}

/** The devices to watch: what all open parts of the page want, at most what the server allows. */
export function watchSet(wanted: Iterable<string[]>, max = 50): string[] {
  const all = new Set<string>();
  for (const ids of wanted) for (const id of ids) all.add(id);
  return [...all].slice(0, max);
}
