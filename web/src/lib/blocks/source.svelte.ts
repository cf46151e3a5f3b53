//! What the blocks of a dashboard show: asked for once, then followed by the event stream, which comes back by itself
//! and is followed by asking anew, so that nothing is missed.
import { untrack } from 'svelte';
import { asProblem, type Listening, type Query } from '../api/client';
import type { BlockData, BlockHistory, Problem } from '../api/contract';
import { waitBefore } from '../domain/resume';

export type LivePoint = { series: number; device: string; at: number; value: number };

/** The way to the data: of a dashboard, or of a public link. */
export type Door = {
  data: (signal: AbortSignal) => Promise<{ blocks: Record<string, BlockData> }>;
  history: (block: string, query: Query, signal: AbortSignal) => Promise<BlockHistory>;
  live: (listening: Listening) => Promise<void>;
};

/** What somebody may do by the blocks. Each answers whether it worked, and says why not. */
export type Deeds = {
  act: (block: string, value?: unknown) => Promise<boolean>;
  acknowledge: (alarm: string) => Promise<boolean>;
};

export type Source = {
  readonly blocks: Record<string, BlockData>;
  /** The stream is there. */
  readonly isLive: boolean;
  /** Since when it is not; null while it is. */
  readonly lateSince: number | null;
  /** Why nothing will come any more, or why nothing came yet. */
  readonly problem: Problem | undefined;
  history: Door['history'];
  /** Listens to the points of a chart until the returned function is called. */
  points: (block: string, listener: (points: LivePoint[]) => void) => () => void;
  /** For people without login: nothing leads to other pages. */
  readonly isPublic: boolean;
  /** Null where nothing may be done. */
  readonly deeds: Deeds | null;
  reload: () => Promise<void>;
};

type Options = { deeds?: () => Deeds | null; isPublic?: boolean; onsaved?: (revision: number) => void };

/** These do not go away by trying again. */
const FINAL = [401, 403, 404, 410];

/** Must be called while a component is set up: it stops with the component. */
export function sourceOf(door: Door, { deeds = () => null, isPublic = false, onsaved }: Options): Source {
  let blocks = $state.raw<Record<string, BlockData>>({});
  let isLive = $state(false);
  let lateSince = $state<number | null>(null);
  let problem = $state.raw<Problem | undefined>(undefined);
  const listeners = new Map<string, Set<(points: LivePoint[]) => void>>();
  const stop = new AbortController();
  /** What came by the stream while everything was asked for: it is newer. */
  let since: Record<string, BlockData> = {};

  async function reload(): Promise<void> {
    since = {};
    try {
      const loaded = await door.data(stop.signal);
      blocks = { ...loaded.blocks, ...since };
      problem = undefined;
    } catch (error) {
      const found = asProblem(error);
      if (found.code !== 'aborted') problem = found;
    }
  }

  function hear({ event, data }: { event: string; data: string }): void {
    const told: unknown = JSON.parse(data);
    if (event === 'block') {
      const { block, data: next } = told as { block: string; data: BlockData };
      since[block] = next;
      blocks = { ...blocks, [block]: next };
    } else if (event === 'points') {
      const { block, points } = told as { block: string; points: LivePoint[] };
      for (const listener of listeners.get(block) ?? []) listener(points);
    } else if (event === 'saved') onsaved?.((told as { revision: number }).revision);
  }

  async function follow(): Promise<void> {
    for (let attempt = 0; !stop.signal.aborted; attempt += 1) {
      const onopen = (): void => {
        attempt = 0;
        isLive = true;
        lateSince = null;
        void reload();
      };
      let hasEnded = false;
      try {
        await door.live({ signal: stop.signal, onopen, onevent: hear });
        hasEnded = true;
      } catch (error) {
        const found = asProblem(error);
        if (FINAL.includes(found.status)) problem = found;
        if (FINAL.includes(found.status) || stop.signal.aborted) break;
      }
      isLive = false;
      // A stream that ends in order, as when the dashboard was saved, is there again in a moment.
      if (!hasEnded) lateSince ??= Date.now();
      await rest(waitBefore(attempt, Math.random()), stop.signal);
    }
    isLive = false;
  }

  $effect(() => {
    untrack(() => {
      void reload();
      void follow();
    });
    return () => stop.abort();
  });

  return {
    get blocks() {
      return blocks;
    },
    get isLive() {
      return isLive;
    },
    get lateSince() {
      return lateSince;
    },
    get problem() {
      return problem;
    },
    history: door.history,
    points: (block, listener) => {
      const own = listeners.get(block) ?? new Set();
      listeners.set(block, own.add(listener));
      return () => own.delete(listener);
    },
    isPublic,
    get deeds() {
      return deeds();
    },
    reload,
  };
}

/** Waits, but not when the network has just come back, and not after the end. */
function rest(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    }
    addEventListener('online', done);
    signal.addEventListener('abort', done);
  });
}
