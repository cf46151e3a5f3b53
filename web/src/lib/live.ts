//! The one WebSocket. It resumes after the last sequence number it saw, waits longer after every failed attempt,
//! and tells whoever listens about changes, about telemetry of watched devices, and when pages must load anew.
import { writable } from 'svelte/store';
import type { Change } from './api/contract';
import { pathAfter, readFrame, waitBefore, watchSet, type TelemetryFrame } from './domain/resume';

export type LiveState = 'connecting' | 'live' | 'reconnecting' | 'off';
export type LiveListener = {
  changes?: (changes: Change[]) => void;
  telemetry?: (telemetry: TelemetryFrame) => void;
  /** Too much was missed, or the link was new: what is shown must be loaded again. */
  resync?: () => void;
};

export const liveState = writable<LiveState>('off');

const listeners = new Set<LiveListener>();
const watches = new Map<symbol, string[]>();
let socket: WebSocket | null = null;
let seq: number | null = null;
let attempt = 0;
let timer: ReturnType<typeof setTimeout> | undefined;
let wanted = false;
let watchSoon = false;

export function connectLive(): void {
  if (wanted) return;
  wanted = true;
  seq = null;
  attempt = 0;
  liveState.set('connecting');
  open();
}

export function disconnectLive(): void {
  wanted = false;
  clearTimeout(timer);
  socket?.close();
  socket = null;
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

function open(): void {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const opened = new WebSocket(`${scheme}://${location.host}${pathAfter(seq)}`);
  socket = opened;
  opened.onopen = () => {
    attempt = 0;
    liveState.set('live');
    sendWatch();
  };
  opened.onmessage = (event) => {
    if (typeof event.data === 'string') receive(event.data);
  };
  opened.onclose = () => {
    if (socket === opened) reconnectLater();
  };
}

function receive(text: string): void {
  const reading = readFrame(text, seq);
  seq = reading.seq;
  const meaning = reading.meaning;
  for (const listener of [...listeners]) {
    if (meaning.kind === 'changes' && meaning.changes.length > 0) listener.changes?.(meaning.changes);
    if (meaning.kind === 'telemetry') listener.telemetry?.(meaning.telemetry);
    if (meaning.kind === 'resync') listener.resync?.();
  }
}

function reconnectLater(): void {
  socket = null;
  if (!wanted) return;
  liveState.set('reconnecting');
  timer = setTimeout(open, waitBefore(attempt, Math.random()));
  attempt += 1;
}

/** Several parts of a page change their watch in the same moment: one frame says it all. */
function sendWatch(): void {
  if (watchSoon) return;
  watchSoon = true;
  queueMicrotask(() => {
    watchSoon = false;
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ watch: watchSet(watches.values()) }));
  });
}

addEventListener('online', () => {
  if (!wanted || socket !== null) return;
  clearTimeout(timer);
  open();
});
