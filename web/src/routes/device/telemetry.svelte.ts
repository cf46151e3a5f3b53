//! The telemetry of one device on its page: the last value of every metric, and a series for each numeric
//! one, loaded for the chosen range and then fed by the live link.
import { asProblem } from '../../lib/api/client';
import type { Metric, Point, Problem } from '../../lib/api/contract';
import { insertPoint, millisecondsOf, seriesOf, type Range, type Series } from '../../lib/domain/points';

/** Charts on one page; further numeric metrics are in the table of last values only. */
export const CHARTS_MAX = 12;
const POINTS_MAX = 20_000;

type Load = {
  metrics: (signal: AbortSignal) => Promise<Metric[]>;
  points: (metric: string, from: number, limit: number, signal: AbortSignal) => Promise<Point[]>;
};

export type Telemetry = {
  readonly metrics: Metric[] | undefined;
  readonly series: Record<string, Series>;
  readonly charted: string[];
  readonly problem: Problem | undefined;
  show: (range: Range) => void;
  add: (points: [metric: string, time: number, value: unknown][]) => void;
};

/** Must be called while a component is set up. */
export function telemetryOf(load: Load): Telemetry {
  let metrics = $state.raw<Metric[] | undefined>(undefined);
  let series = $state.raw<Record<string, Series>>({});
  let problem = $state.raw<Problem | undefined>(undefined);
  let running = new AbortController();
  const numeric = $derived(
    (metrics ?? []).filter((metric) => metric.kind === 'number').map((metric) => metric.metric),
  );
  const charted = $derived(numeric.slice(0, CHARTS_MAX));

  async function show(range: Range): Promise<void> {
    running.abort();
    const own = new AbortController();
    running = own;
    try {
      metrics = sorted(await load.metrics(own.signal));
      problem = undefined;
      const from = Date.now() - millisecondsOf(range);
      const wanted = metrics.filter((metric) => metric.kind === 'number').slice(0, CHARTS_MAX);
      for (const { metric } of wanted) {
        const loaded = seriesOf(await load.points(metric, from, POINTS_MAX, own.signal));
        if (running !== own) return;
        series = { ...series, [metric]: merged(loaded, series[metric]) };
      }
    } catch (error) {
      const found = asProblem(error);
      if (running === own && found.code !== 'aborted') problem = found;
    }
  }

  function add(points: [metric: string, time: number, value: unknown][]): void {
    const known = new Map((metrics ?? []).map((metric) => [metric.metric, metric]));
    const next = { ...series };
    for (const [metric, time, value] of points) {
      const before = known.get(metric);
      if (before === undefined || time >= before.time)
        known.set(metric, { metric, time, value, kind: kindOf(value) });
      if (typeof value === 'number')
        next[metric] = insertPoint(next[metric] ?? { times: [], values: [] }, time, value);
    }
    metrics = sorted([...known.values()]);
    series = next;
  }

  $effect(() => () => running.abort());

  return {
    get metrics() {
      return metrics;
    },
    get series() {
      return series;
    },
    get charted() {
      return charted;
    },
    get problem() {
      return problem;
    },
    show: (range) => void show(range),
    add,
  };
}

/** What was loaded, and the live points that came while it was. */
function merged(loaded: Series, live: Series | undefined): Series {
  const last = loaded.times.at(-1) ?? 0;
  let result = loaded;
  live?.times.forEach((time, index) => {
    const value = live.values[index];
    if (time > last && typeof value === 'number') result = insertPoint(result, time, value);
  });
  return result;
}

function sorted(metrics: Metric[]): Metric[] {
  return metrics.toSorted((a, b) => a.metric.localeCompare(b.metric));
}

function kindOf(value: unknown): Metric['kind'] {
  if (typeof value === 'number') return 'number';
  if (typeof value === 'boolean') return 'boolean';
  return typeof value === 'string' ? 'text' : 'json';
}
