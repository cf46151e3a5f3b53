//! The one WebSocket. It resumes after the last sequence number it saw, waits longer after every failed
//! attempt, and tells whoever listens about changes, about telemetry of watched devices, and when pages
//! must load anew.
import { writable } from 'svelte/store';
import { get } from './api/client';
import type { Change } from './api/contract';
import {
  pathAfter,
  readFrame,
  waitBefore,
  watchSet,
  type FlowFrame,
  type LogFrame,
  type Position,
  type ShadowFrame,
  type TelemetryFrame,
} from './domain/resume';
import { openLink, type Link } from './link';

export type LiveState = 'connecting' | 'live' | 'reconnecting' | 'off';
export type LiveListener = {
  changes?: (changes: Change[]) => void;
  telemetry?: (telemetry: TelemetryFrame) => void;
  /** New log lines of watched devices. */
  log?: (log: LogFrame) => void;
  /** The shadow of a watched device changed. */
  shadow?: (shadow: ShadowFrame) => void;
  /** What moves in the flow that is followed. */
  flow?: (flow: FlowFrame) => void;
  /** So many unknown devices wait for a decision. */
  inbox?: (waiting: number) => void;
  /**
   * The link is there, at last or again. Changes that were missed are told; what else is told here was not, and is
   * loaded.
   */
  back?: () => void;
  /** Too much was missed, or the link was new: what is shown must be loaded again. */
  resync?: () => void;
};

export const liveState = writable<LiveState>('off');

const listeners = new Set<LiveListener>();
const watches = new Map<symbol, string[]>();
let followed: string | null = null;
let link: Link | null = null;
let position: Position = { seq: null, hub: null };
/** Nothing was heard yet since the link was opened. */
let isSilent = true;
let attempt = 0;
let timer: ReturnType<typeof setTimeout> | undefined;
let wanted = false;
let watchSoon = false;

/** Tells all that happens after this change, so that no page is older than it: they are loaded from now on. */
export function connectLive(seq: number | null): void {
  if (wanted) return;
  wanted = true;
  position = { seq, hub: null };
  isSilent = true;
  attempt = 0;
  liveState.set('connecting');
  open();
}

export function disconnectLive(): void {
  wanted = false;
  clearTimeout(timer);
  link?.close();
  link = null;
  liveState.set('off');
}

/** Listens until the returned function is called. */
export function listenLive(listener: LiveListener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Asks for the telemetry of these devices until the returned function is called. */
export function watchDevices(ids: string[]): () => void {
  const key = Symbol('watch');
  watches.set(key, ids);
  sendWatch();
  return () => {
    watches.delete(key);
    sendWatch();
  };
}

/** Asks for what moves in one flow until the returned function is called: a page shows one. */
export function followFlow(flow: string): () => void {
  followed = flow;
  sendFollow();
  return () => {
    if (followed !== flow) return;
    followed = null;
    sendFollow();
  };
}

function open(): void {
  link = openLink(pathAfter(position.seq), {
    onopen: () => {
      sendWatch();
      if (followed !== null) sendFollow();
    },
    ontext: receive,
    onlost: reconnectLater,
  });
}

function receive(text: string): void {
  const reading = readFrame(text, position);
  // What pages loaded before the first link may be older than where that begins.
  const isOld = position.seq === null && reading.meaning.kind === 'hello';
  const meaning = isOld ? { kind: 'resync' as const } : reading.meaning;
  position = reading.position;
  const isBack = isSilent;
  isSilent = false;
  if (isBack) {
    // The hub tells what happens only from its first frame on.
    attempt = 0;
    liveState.set('live');
  }
  for (const listener of [...listeners]) {
    if (isBack) listener.back?.();
    if (meaning.kind === 'changes' && meaning.changes.length > 0) listener.changes?.(meaning.changes);
    if (meaning.kind === 'telemetry') listener.telemetry?.(meaning.telemetry);
    if (meaning.kind === 'log') listener.log?.(meaning.log);
    if (meaning.kind === 'shadow') listener.shadow?.(meaning.shadow);
    if (meaning.kind === 'flow') listener.flow?.(meaning.flow);
    if (meaning.kind === 'inbox') listener.inbox?.(meaning.waiting);
    if (meaning.kind === 'resync') listener.resync?.();
  }
}

function reconnectLater(): void {
  link = null;
  if (!wanted) return;
  liveState.set('reconnecting');
  isSilent = true;
  timer = setTimeout(open, waitBefore(attempt, Math.random()));
  attempt += 1;
  // A WebSocket does not tell why it was refused; a plain request does, and leads to the login if need be.
  if (attempt === 2) get('/me').catch(() => undefined);
}

/** Several parts of a page change their watch in the same moment: one frame says it all. */
function sendWatch(): void {
  if (watchSoon) return;
  watchSoon = true;
  queueMicrotask(() => {
    watchSoon = false;
    link?.say(JSON.stringify({ watch: watchSet(watches.values()) }));
  });
}

function sendFollow(): void {
  link?.say(JSON.stringify({ follow_flow: followed }));
}

addEventListener('online', () => {
  if (!wanted || link !== null) return;
  clearTimeout(timer);
  open();
});
