//! The live link as a pure machine: what a frame means, where to resume from, how long to wait before trying
//! again.
'use strict';

const WAIT_FIRST_MS = 500;
const WAIT_MAX_MS = 20_000;

/** A failed attempt soon after the last one waits up to twice as long; `random` (0..1) spreads many clients. */
function waitBefore(attempt, random) {
  const ceiling = Math.min(WAIT_MAX_MS, WAIT_FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** The path to open: with the last known sequence number, so that nothing in between is lost. */
function pathAfter(seq) {
  return seq === null ? '/api/v1/live' : `/api/v1/live?after=${seq}`;
}

/**
 * Reads one frame, given the last sequence number that is known. Returns the new one, and what the frame means:
 * its kind and its content. Changes that were seen already are left out.
 */
function readFrame(text, seq) {
  const frame = parse(text);
  if ('hello' in frame) {
    const hub = numberIn(frame.hello, 'seq');
    // A hub that is behind us has another history, such as a data folder put back from a backup.
    if (seq === null || hub === null || hub < seq) {
      return { seq: hub, kind: seq === null || hub === null ? 'hello' : 'resync' };
    }
    return { seq, kind: 'hello' };
  }
  if ('resync' in frame) return { seq: null, kind: 'resync' };
  if (Array.isArray(frame.changes)) {
    const changes = frame.changes.filter((change) => seq === null || change.seq > seq);
    const last = numberIn(frame, 'seq') ?? changes.at(-1)?.seq ?? 0;
    return { seq: Math.max(last, seq ?? 0), kind: 'changes', content: changes };
  }
  if (isObject(frame.telemetry)) return { seq, kind: 'telemetry', content: frame.telemetry };
  if (typeof frame.flow === 'string') return { seq, kind: 'flow', content: frame };
  if (typeof frame.error === 'string') return { seq, kind: 'error', content: frame.error };
  return { seq, kind: 'unknown' };
}

function parse(text) {
  try {
    const value = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function numberIn(value, name) {
  const found = isObject(value) ? value[name] : undefined;
  return typeof found === 'number' ? found : null;
}

module.exports = { waitBefore, pathAfter, readFrame };
