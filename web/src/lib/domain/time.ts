//! Times as people read them. Every function takes `now`, so that a page can tick and a test can hold
//! still.

const STEPS: [limit: number, divisor: number, unit: string][] = [
  [60, 1, 's'],
  [3600, 60, 'min'],
  [86_400, 3600, 'h'],
  [86_400 * 60, 86_400, 'd'],
  [86_400 * 730, 86_400 * 30.44, 'mo'],
  [Infinity, 86_400 * 365.25, 'y'],
];

/** «just now», «42 s ago», «3 h ago», «in 5 d». */
export function ago(time: string | number, now: number): string {
  const at = typeof time === 'number' ? time : Date.parse(time);
  if (Number.isNaN(at)) return 'unknown';
  const seconds = Math.round((now - at) / 1000);
  const distance = Math.abs(seconds);
  if (distance < 5) return 'just now';
  const text = short(distance);
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function short(seconds: number): string {
  for (const [limit, divisor, unit] of STEPS) {
    if (seconds < limit) return `${Math.max(1, Math.floor(seconds / divisor))} ${unit}`;
  }
  return `${seconds} s`;
}

/** A span of time: «850 ms», «4.2 s», «3 min 20 s», «2 h 5 min». */
export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return pair(minutes, 'min', Math.round(seconds % 60), 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, 'h', minutes % 60, 'min');
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function pair(first: number, firstUnit: string, second: number, secondUnit: string): string {
  return second === 0 ? `${first} ${firstUnit}` : `${first} ${firstUnit} ${second} ${secondUnit}`;
}

const two = (value: number): string => String(value).padStart(2, '0');

/** «2026-11-21 14:03:09», in the time zone of the browser. */
export function full(time: string | number): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return 'unknown';
  return `${day(date)} ${clock(date)}`;
}

function day(date: Date): string {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

export function clock(time: Date | number | string): string {
  const date = new Date(time);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
