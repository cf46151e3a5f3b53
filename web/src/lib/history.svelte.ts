//! History that follows a window: loaded when the window or the series change, and again, not too often, when
//! live points come. The old one stays on the screen until the new one is there.
import { asProblem } from './api/client';
import type { Problem } from './api/contract';
import { edgesOf, type Window } from './domain/window';

/** A bucket for every few pixels of a wide screen. */
const BUCKETS = 800;
/** While a window is dragged, it is loaded no more often. */
const REST_MS = 120;

type Load<T> = (from: number, to: number, buckets: number, signal: AbortSignal) => Promise<T>;

export type HistoryOf<T> = {
  readonly data: T | undefined;
  readonly problem: Problem | undefined;
  show: (shown: Window) => void;
  /** Something new is there: a live window is loaded again, no sooner than this after the last time; by default when it
      would be seen. */
  soon: (interval_ms?: number) => void;
};

/** Must be called while a component is set up: it stops with the component. */
export function historyOf<T>(load: Load<T>, buckets = BUCKETS): HistoryOf<T> {
  let data = $state.raw<T | undefined>(undefined);
  let problem = $state.raw<Problem | undefined>(undefined);
  let running: AbortController | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = Number.NEGATIVE_INFINITY;
  let shown: Window | null = null;

  async function reload(): Promise<void> {
    if (shown === null) return;
    running?.abort();
    clearTimeout(timer);
    timer = undefined;
    const own = new AbortController();
    running = own;
    last = performance.now();
    const wanted = shown;
    try {
      const [from, to] = edgesOf(wanted, Date.now());
      // A live window has a little more, so that a board whose clock is ahead is seen.
      const end = wanted.kind === 'live' ? to + wanted.span / 100 : to;
      const loaded = await load(Math.floor(from), Math.ceil(end), buckets, own.signal);
      if (running !== own) return;
      data = loaded;
      problem = undefined;
    } catch (error) {
      const found = asProblem(error);
      if (running === own && found.code !== 'aborted') problem = found;
    }
  }

  function later(wait: number): void {
    if (timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      if (document.hidden) document.addEventListener('visibilitychange', () => void reload(), { once: true });
      else void reload();
    }, wait);
  }

  $effect(() => () => {
    running?.abort();
    running = null;
    clearTimeout(timer);
  });

  return {
    get data() {
      return data;
    },
    get problem() {
      return problem;
    },
    show: (wanted) => {
      shown = wanted;
      const wait = last + REST_MS - performance.now();
      if (wait <= 0) void reload();
      else later(wait);
    },
    soon: (interval_ms) => {
      if (shown?.kind !== 'live') return;
      const interval = interval_ms ?? Math.max(1000, shown.span / buckets / 2);
      later(Math.max(80, last + interval - performance.now()));
    },
  };
}
