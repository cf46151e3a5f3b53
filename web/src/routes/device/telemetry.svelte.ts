//! The last value of every metric of one device: loaded once, then fed by the live link.
import { asProblem } from '../../lib/api/client';
import type { Metric, Problem } from '../../lib/api/contract';

export type Latest = {
  readonly metrics: Metric[] | undefined;
  readonly problem: Problem | undefined;
  load: () => void;
  /** Takes live points; whether one of them is of a metric that was not known. */
  add: (points: [metric: string, time: number, value: unknown][]) => boolean;
};

/** Must be called while a component is set up. */
export function latestOf(load: (signal: AbortSignal) => Promise<Metric[]>): Latest {
  let metrics = $state.raw<Metric[] | undefined>(undefined);
  let problem = $state.raw<Problem | undefined>(undefined);
  let running = new AbortController();

  async function reload(): Promise<void> {
    running.abort();
    const own = new AbortController();
    running = own;
    try {
      const loaded = await load(own.signal);
      if (running !== own) return;
      metrics = sorted(loaded);
      problem = undefined;
    } catch (error) {
      const found = asProblem(error);
      if (running === own && found.code !== 'aborted') problem = found;
    }
  }

  function add(points: [metric: string, time: number, value: unknown][]): boolean {
    const known = new Map((metrics ?? []).map((metric) => [metric.metric, metric]));
    const before = known.size;
    for (const [metric, time, value] of points) {
      const last = known.get(metric);
      if (last === undefined || time >= last.time)
        known.set(metric, { metric, time, value, kind: kindOf(value) });
    }
    metrics = sorted([...known.values()]);
    return known.size > before;
  }

  $effect(() => () => running.abort());

  return {
    get metrics() {
      return metrics;
    },
    get problem() {
      return problem;
    },
    load: () => void reload(),
    add,
  };
}

function sorted(metrics: Metric[]): Metric[] {
  return metrics.toSorted((a, b) => a.metric.localeCompare(b.metric));
}

function kindOf(value: unknown): Metric['kind'] {
  if (typeof value === 'number') return 'number';
  if (typeof value === 'boolean') return 'boolean';
  return typeof value === 'string' ? 'text' : 'json';
}
