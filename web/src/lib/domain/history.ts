//! What charts need of history: lines with their bands over one axis of time, gaps where a device was silent, and
//! the stretches of values that are no numbers.
import type { HistorySeries, LinePoint } from '../api/contract';
import { numberText } from './points';

/** Columns over `times` (seconds): for each series its lowest, average and highest. `null` breaks the line. */
export type Plot = { times: number[]; columns: (number | null | undefined)[][] };
export type Stretch = { from: number; to: number; text: string; changes: number };

/** A silence longer than this many usual distances is drawn as a gap. */
const GAP_FACTOR = 8;

export function keyOf(series: Pick<HistorySeries, 'device' | 'metric'>): string {
  return `${series.device}:${series.metric}`;
}

export function nameOf(metric: { metric: string; display_name?: string | null | undefined }): string {
  return metric.display_name ?? metric.metric;
}

/** A value with as many digits as its metric has, and its unit. */
export function valueWith(value: number, metric: { unit?: string | null; decimals?: number | null }): string {
  const decimals = metric.decimals ?? null;
  // Without decimals that somebody chose, more than four digits of a measurement only make it hard to read.
  const plain = Math.abs(value) < 1000 ? Number(value.toPrecision(4)) : value;
  const text = decimals === null ? numberText(plain) : value.toFixed(decimals);
  return metric.unit ? `${text} ${metric.unit}` : text;
}

export function hasNumbers(series: HistorySeries): boolean {
  return series.avg.some((value) => value !== null);
}

export function hasStates(series: HistorySeries): boolean {
  return series.changes.some((value) => value !== null);
}

/** What a line is made of. */
type Measured = Pick<HistorySeries, 'start' | 'first' | 'last' | 'count' | 'min' | 'avg' | 'max'>;

/** Points with their lowest and highest as a line. */
export function measured(points: LinePoint[]): Measured {
  const column = (at: 0 | 1 | 2 | 3): number[] => points.map((point) => point[at]);
  const start = column(0);
  const count = start.map(() => 1);
  return { start, first: start, last: start, count, avg: column(1), min: column(2), max: column(3) };
}

/** Several series over the times of all of them. */
export function plotOf(all: Measured[], width: number): Plot {
  const times = new Set<number>();
  const parts = all.map((series) => {
    const own = new Map<number, number | null>();
    const usual = usualDistance(series.start);
    series.start.forEach((start, index) => {
      if (series.avg[index] === null) return;
      const before = series.start[index - 1];
      if (before !== undefined && start - before > Math.max(usual * GAP_FACTOR, width))
        own.set((series.last[index - 1] ?? before) / 1000 + 0.001, null);
      const only = series.count[index] === 1;
      own.set((only ? (series.first[index] ?? start) : start + width / 2) / 1000, index);
    });
    for (const time of own.keys()) times.add(time);
    return own;
  });
  const sorted = [...times].sort((a, b) => a - b);
  const columns = all.flatMap((series, index) =>
    [series.min, series.avg, series.max].map((values) => column(sorted, parts[index], values)),
  );
  return { times: sorted, columns };
}

/** The values at all times: other series may have points within a gap of this one. */
function column(
  times: number[],
  own: Map<number, number | null> | undefined,
  values: (number | null)[],
): (number | null | undefined)[] {
  let isGap = false;
  return times.map((time) => {
    const at = own?.get(time);
    if (at !== undefined) isGap = at === null;
    if (at === undefined || at === null) return isGap ? null : undefined;
    return values[at] ?? null;
  });
}

/** Stretches of the same value, up to where the next value comes or the device fell silent. */
export function stretchesOf(series: HistorySeries, width: number): Stretch[] {
  const usual = usualDistance(series.start);
  const stretches: Stretch[] = [];
  series.start.forEach((start, index) => {
    const changes = series.changes[index];
    if (changes === null || changes === undefined) return;
    const next = series.start[index + 1];
    const isSilent = next === undefined || next - start > Math.max(usual * GAP_FACTOR, width);
    const from = series.first[index] ?? start;
    const to = isSilent ? (series.last[index] ?? start) : (series.first[index + 1] ?? next);
    const text = textOf(series.value[index]);
    const last = stretches.at(-1);
    if (last !== undefined && last.text === text && changes === 0 && last.changes === 0 && last.to >= from)
      last.to = to;
    else stretches.push({ from, to, text, changes });
  });
  return stretches;
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

function usualDistance(starts: number[]): number {
  const distances = starts.slice(1).map((start, index) => start - (starts[index] ?? start));
  distances.sort((a, b) => a - b);
  return distances[Math.floor(distances.length / 2)] ?? 0;
}
