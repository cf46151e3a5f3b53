//! Names and units of metrics, for every page that shows one. Loaded once, and again when somebody changed them.
import type { MetricInfo } from './api/contract';

type Load = () => Promise<MetricInfo[]>;

let known = $state.raw<Map<string, MetricInfo>>(new Map());
let isLoaded = false;

/** Loads them unless that was done. What cannot be loaded is shown without units. */
export function learnMetrics(load: Load): void {
  if (isLoaded) return;
  isLoaded = true;
  load().then(
    (items) => (known = new Map(items.map((item) => [item.name, item]))),
    () => (isLoaded = false),
  );
}

export function forgetMetrics(): void {
  isLoaded = false;
}

/** What is known of a metric. */
export function metricOf(name: string): MetricInfo | undefined {
  return known.get(name);
}
