//! The live link as a pure machine: what a frame means, where to resume from, how long to wait before trying again.
import type { Change } from '../api/contract';

export type TelemetryFrame = Record<string, [metric: string, time: number, value: unknown][]>;
export type Meaning =
  | { kind: 'hello' }
  | { kind: 'changes'; changes: Change[] }
  | { kind: 'resync' }
  | { kind: 'telemetry'; telemetry: TelemetryFrame }
  | { kind: 'unknown' };
export type Reading = { seq: number | null; meaning: Meaning };

const WAIT_FIRST_MS = 500;
const WAIT_MAX_MS = 20_000;
/** A failed attempt soon after the last one waits up to twice as long; `random` (0..1) spreads many browsers. */
export function waitBefore(attempt: number, random: number): number {
  const ceiling = Math.min(WAIT_MAX_MS, WAIT_FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** The path to open: with the last known sequence number, so that nothing in between is lost. */
export function pathAfter(seq: number | null): string {
  return seq === null ? '/api/v1/live' : `/api/v1/live?after=${seq}`;
}

/** Reads one frame, given the last sequence number. Changes that were already seen are left out. */
export function readFrame(text: string, seq: number | null): Reading {
  const frame = parse(text);
  if (frame === null) return { seq, meaning: { kind: 'unknown' } };
  if ('hello' in frame) return { seq: seq ?? numberIn(frame.hello, 'seq'), meaning: { kind: 'hello' } };
  if ('resync' in frame) return { seq: numberIn(frame, 'seq'), meaning: { kind: 'resync' } };
  if ('changes' in frame && Array.isArray(frame.changes)) {
    const changes = (frame.changes as Change[]).filter((change) => seq === null || change.seq > seq);
    const latest = numberIn(frame, 'seq') ?? changes.at(-1)?.seq ?? seq;
    return { seq: Math.max(latest ?? 0, seq ?? 0), meaning: { kind: 'changes', changes } };
  }
  if ('telemetry' in frame) {
    return { seq, meaning: { kind: 'telemetry', telemetry: frame.telemetry as TelemetryFrame } };
  }
  return { seq, meaning: { kind: 'unknown' } };
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
