//! Something a page loads: its data, its problem, whether it is under way. A reload keeps the old data on
//! the screen; `reloadSoon` gathers many reasons to reload into at most one request per interval.
import { asProblem } from './api/client';
import type { Problem } from './api/contract';

export type Resource<T> = {
  readonly data: T | undefined;
  readonly problem: Problem | undefined;
  readonly loading: boolean;
  reload: () => Promise<void>;
  reloadSoon: (interval_ms?: number) => void;
  /** Shows something known to be true before the server repeats it, unless what is shown is newer. */
  set: (data: T) => void;
  /** Forgets the data and loads: the question itself has changed. */
  restart: () => void;
};

/** Must be called while a component is set up: it stops with the component. `isOlder` tells which of two answers was
    overtaken by the other on its way here; without it the last to come is shown. */
export function resource<T>(
  load: (signal: AbortSignal) => Promise<T>,
  isOlder?: (next: T, shown: T) => boolean,
): Resource<T> {
  let data = $state.raw<T | undefined>(undefined);
  let problem = $state.raw<Problem | undefined>(undefined);
  let loading = $state(true);
  let running: AbortController | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = 0;

  function set(next: T): void {
    if (data === undefined || isOlder?.(next, data) !== true) data = next;
  }

  async function reload(): Promise<void> {
    running?.abort();
    clearTimeout(timer);
    timer = undefined;
    const own = new AbortController();
    running = own;
    last = performance.now();
    loading = true;
    try {
      const loaded = await load(own.signal);
      if (running !== own) return;
      set(loaded);
      problem = undefined;
    } catch (error) {
      const found = asProblem(error);
      if (running !== own || found.code === 'aborted') return;
      problem = found;
    }
    loading = false;
  }

  function reloadSoon(interval_ms = 1000): void {
    if (timer !== undefined) return;
    const wait = Math.max(80, last + interval_ms - performance.now());
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
    get loading() {
      return loading;
    },
    reload,
    reloadSoon,
    set,
    restart: () => {
      data = undefined;
      void reload();
    },
  };
}
