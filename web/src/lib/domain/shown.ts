//! What a block says of its devices: of one its value, of several what they have in common; whether what is wanted is
//! reported; and since when nobody knows.
import type { Read, Shown } from './dashboard';
import { numberText } from './points';

export type Summary =
  | { is: 'nothing' }
  | { is: 'one'; value: unknown }
  | { is: 'numbers'; low: number; high: number; mean: number; count: number }
  | { is: 'same'; value: unknown; count: number }
  | { is: 'several'; values: { value: unknown; count: number }[] };

/** Different values that are told one by one; more are only counted. */
export const VALUES_MAX = 6;

export function summaryOf(devices: Shown[]): Summary {
  const values = devices
    .map((device) => device.value)
    .filter((value) => value !== null && value !== undefined);
  if (values.length === 0) return { is: 'nothing' };
  if (devices.length === 1) return { is: 'one', value: values[0] };
  const numbers = values.filter((value) => typeof value === 'number');
  if (numbers.length === values.length) {
    const sum = numbers.reduce((all, value) => all + value, 0);
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    return { is: 'numbers', low, high, mean: sum / numbers.length, count: numbers.length };
  }
  const counted = countsOf(values);
  if (counted.length === 1) return { is: 'same', value: values[0], count: values.length };
  return { is: 'several', values: counted };
}

function countsOf(values: unknown[]): { value: unknown; count: number }[] {
  const counts = new Map<string, { value: unknown; count: number }>();
  for (const value of values) {
    const key = JSON.stringify(value) ?? '';
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { value, count: 1 });
    else known.count += 1;
  }
  return [...counts.values()].sort((a, b) => b.count - a.count);
}

export type Position = 'on' | 'off' | 'mixed' | 'unknown';

/** Where a switch stands: by what is wanted of each device, and by what it reports if nothing is. */
export function positionOf(devices: Shown[], on: unknown, off: unknown): Position {
  const each = new Set(
    devices.map((device) => {
      const value = wantedOf(device);
      return isEqual(value, on) ? 'on' : isEqual(value, off) ? 'off' : 'unknown';
    }),
  );
  if (each.size > 1) return 'mixed';
  return [...each][0] ?? 'unknown';
}

/** What is wanted of a device, or else what it reports. */
export function wantedOf(device: Shown): unknown {
  return device.desired ?? device.value ?? null;
}

/** What all devices are wanted to be; undefined if that differs, or if there is none. */
export function commonOf(devices: Shown[]): unknown {
  const [first, ...others] = devices.map(wantedOf);
  return others.every((value) => isEqual(value, first)) ? (first ?? undefined) : undefined;
}

/** Those that do not report yet what is wanted of them. */
export function pendingOf(devices: Shown[]): Shown[] {
  return devices.filter((device) => {
    const wish = device.desired;
    return wish !== undefined && wish !== null && !isEqual(wish, device.value);
  });
}

/** Those that are not there. */
export function awayOf(devices: Shown[]): Shown[] {
  return devices.filter((device) => device.reach !== 'online');
}

/** «all 5 are offline», «Lamp is unreachable», «2 of 5 are away»; null if all are there. */
export function awayText(devices: Shown[]): string | null {
  const away = awayOf(devices);
  const [first] = away;
  if (first === undefined) return null;
  const word = away.every((device) => device.reach === first.reach) ? first.reach : 'away';
  if (devices.length === 1) return word;
  return away.length === devices.length
    ? `all ${away.length} ${word}`
    : `${away.length} of ${devices.length} ${word}`;
}

/** When the newest of the values was said. */
export function lastAt(devices: Shown[]): number | null {
  const times = devices.map((device) => device.at).filter((at) => at !== null && at !== undefined);
  return times.length === 0 ? null : Math.max(...times);
}

/** Equal as JSON; `1` and `1.0` are the same number, the order of members does not count. */
export function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [ours, theirs] = [Object.entries(a), Object.entries(b)];
  return (
    Array.isArray(a) === Array.isArray(b) &&
    ours.length === theirs.length &&
    ours.every(
      ([name, value]) => Object.hasOwn(b, name) && isEqual(value, (b as Record<string, unknown>)[name]),
    )
  );
}

export type Look = { unit?: string | null | undefined; decimals?: number | null | undefined };

/** A value for people: numbers with their digits, true and false as words, nothing as a dash. */
export function shownText(value: unknown, look: Look = {}): string {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'string') return value;
  if (typeof value !== 'number') return JSON.stringify(value) ?? '';
  const { decimals } = look;
  if (decimals !== null && decimals !== undefined) return value.toFixed(decimals);
  return numberText(Math.abs(value) < 1000 ? Number(value.toPrecision(4)) : value);
}

/** What is read, in words: the head of a column. */
export function readText(read: Read): string {
  if ('presence' in read) return 'Presence';
  if ('metric' in read) return read.metric;
  return 'reported' in read ? read.reported : `${read.desired} (desired)`;
}
