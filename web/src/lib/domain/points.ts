//! What a chart needs of telemetry: a window of time, points in order without repeats, gaps where the
//! device was silent, and few enough of them to draw.
import type { Point } from '../api/contract';

export type Range = '15m' | '1h' | '24h' | '7d';
export type Series = { times: number[]; values: (number | null)[] };

export const RANGES: { range: Range; label: string; milliseconds: number }[] = [
  { range: '15m', label: '15 min', milliseconds: 15 * 60_000 },
  { range: '1h', label: '1 h', milliseconds: 3_600_000 },
  { range: '24h', label: '24 h', milliseconds: 86_400_000 },
  { range: '7d', label: '7 d', milliseconds: 7 * 86_400_000 },
];

/** More than this many points cannot be told apart on a screen. */
export const DRAWN_MAX = 2000;
/** Points of one series kept in the browser; the oldest go first. */
export const KEPT_MAX = 100_000;
/** A silence longer than this many usual distances is drawn as a gap. */
const GAP_FACTOR = 8;

export function millisecondsOf(range: Range): number {
  return RANGES.find((entry) => entry.range === range)?.milliseconds ?? 900_000;
}

export function seriesOf(points: Pick<Point, 'time' | 'value'>[]): Series {
  const numeric = points.flatMap((point) =>
    typeof point.value === 'number' ? [[point.time, point.value]] : [],
  );
  numeric.sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
  return { times: numeric.map((pair) => pair[0] ?? 0), values: numeric.map((pair) => pair[1] ?? 0) };
}

/**
 * Adds a live point where it belongs: most arrive last, late ones are put in their place, repeats are left
 * out.
 */
export function insertPoint(series: Series, time: number, value: number): Series {
  let index = series.times.length;
  while (index > 0 && (series.times[index - 1] ?? 0) > time) index -= 1;
  if (series.times[index - 1] === time && series.values[index - 1] === value) return series;
  const times = series.times.slice();
  const values = series.values.slice();
  times.splice(index, 0, time);
  values.splice(index, 0, value);
  const surplus = times.length - KEPT_MAX;
  return surplus > 0 ? { times: times.slice(surplus), values: values.slice(surplus) } : { times, values };
}

/** The points from `from` on, and the one before it, so that the line enters the window from its edge. */
export function windowOf(series: Series, from: number): Series {
  let start = series.times.findIndex((time) => time >= from);
  if (start < 0) start = series.times.length;
  start = Math.max(0, start - 1);
  return { times: series.times.slice(start), values: series.values.slice(start) };
}

/** Keeps the lowest and the highest point of every bucket, so that no spike is lost. */
export function thinOut(series: Series, drawnMax = DRAWN_MAX): Series {
  const count = series.times.length;
  if (count <= drawnMax) return series;
  const buckets = Math.floor(drawnMax / 2);
  const times: number[] = [];
  const values: (number | null)[] = [];
  for (let bucket = 0; bucket < buckets; bucket += 1) {
    const start = Math.floor((bucket * count) / buckets);
    const end = Math.floor(((bucket + 1) * count) / buckets);
    for (const index of extremes(series, start, end)) {
      times.push(series.times[index] ?? 0);
      values.push(series.values[index] ?? null);
    }
  }
  return { times, values };
}

function extremes(series: Series, start: number, end: number): number[] {
  let low = start;
  let high = start;
  for (let index = start; index < end; index += 1) {
    if ((series.values[index] ?? 0) < (series.values[low] ?? 0)) low = index;
    if ((series.values[index] ?? 0) > (series.values[high] ?? 0)) high = index;
  }
  return low === high ? [low] : [Math.min(low, high), Math.max(low, high)];
}

/** Puts a null between two points that are much further apart than usual: the line breaks there. */
export function withGaps(series: Series): Series {
  const usual = usualDistance(series.times);
  if (usual === 0) return series;
  const times: number[] = [];
  const values: (number | null)[] = [];
  series.times.forEach((time, index) => {
    const before = series.times[index - 1];
    if (before !== undefined && time - before > usual * GAP_FACTOR) {
      times.push(before + 1);
      values.push(null);
    }
    times.push(time);
    values.push(series.values[index] ?? null);
  });
  return { times, values };
}

function usualDistance(times: number[]): number {
  const distances = times.slice(1).map((time, index) => time - (times[index] ?? time));
  distances.sort((a, b) => a - b);
  return distances[Math.floor(distances.length / 2)] ?? 0;
}

/** A number as short as it can be without lying: at most six digits that count. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  return String(Number(value.toPrecision(6)));
}

export function valueText(value: unknown): string {
  if (typeof value === 'number') return numberText(value);
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}
