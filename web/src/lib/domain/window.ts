//! The part of time that charts show: the last hour, day, … that moves on with the clock, or two moments. It
//! lives in the address, so that a view can be shared and the way back works.

export type Window = { kind: 'live'; span: number } | { kind: 'fixed'; from: number; to: number };

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

export const PRESETS: { key: string; label: string; span: number }[] = [
  { key: '15m', label: '15 min', span: HOUR / 4 },
  { key: '1h', label: '1 h', span: HOUR },
  { key: '24h', label: '24 h', span: DAY },
  { key: '7d', label: '7 d', span: 7 * DAY },
  { key: '30d', label: '30 d', span: 30 * DAY },
  { key: '1y', label: '1 y', span: 365 * DAY },
];

/** No closer than this: boards measure in milliseconds at best. */
export const SPAN_MIN = 100;
/** No farther than this. */
export const SPAN_MAX = 30 * 365 * DAY;

export function windowIn(params: URLSearchParams, usual: string): Window {
  const from = Number(params.get('from') ?? Number.NaN);
  const to = Number(params.get('to') ?? Number.NaN);
  if (Number.isFinite(from) && Number.isFinite(to) && from < to) return fixed(from, to);
  const found = PRESETS.find((preset) => preset.key === params.get('range'));
  return { kind: 'live', span: (found ?? PRESETS.find((preset) => preset.key === usual))?.span ?? HOUR };
}

/** Writes the window into parameters and leaves the others alone. */
export function withWindow(params: URLSearchParams, shown: Window): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const name of ['range', 'from', 'to']) next.delete(name);
  if (shown.kind === 'live') next.set('range', keyOf(shown) ?? '1h');
  else {
    next.set('from', String(shown.from));
    next.set('to', String(shown.to));
  }
  return next;
}

/** The preset that a window is. */
export function keyOf(shown: Window): string | null {
  if (shown.kind !== 'live') return null;
  return PRESETS.find((preset) => preset.span === shown.span)?.key ?? null;
}

export function edgesOf(shown: Window, now: number): [from: number, to: number] {
  return shown.kind === 'live' ? [now - shown.span, now] : [shown.from, shown.to];
}

export function fixed(from: number, to: number): Window {
  const [first, last] = [Math.round(Math.min(from, to)), Math.round(Math.max(from, to))];
  const span = Math.min(Math.max(last - first, SPAN_MIN), SPAN_MAX);
  const middle = (first + last) / 2;
  if (span === last - first) return { kind: 'fixed', from: first, to: last };
  return { kind: 'fixed', from: Math.round(middle - span / 2), to: Math.round(middle + span / 2) };
}

/** Closer (factor below 1) or farther around a moment that stays where it is. */
export function zoomed(shown: Window, now: number, factor: number, at: number): Window {
  const [from, to] = edgesOf(shown, now);
  return fixed(at - (at - from) * factor, at + (to - at) * factor);
}

/** By a part of its width to earlier (negative) or later. */
export function moved(shown: Window, now: number, part: number): Window {
  const [from, to] = edgesOf(shown, now);
  const step = (to - from) * part;
  return fixed(from + step, to + step);
}
