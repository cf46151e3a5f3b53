//! The one WebSocket to a hub. It is open while somebody listens, resumes after the last sequence number that it
//! saw, and waits longer after every failed attempt.
'use strict';

const WebSocket = require('ws');
const { pathAfter, readFrame, waitBefore } = require('./resume.js');

/** The hub says something every five seconds; a link on which nothing came for so long is dead. */
const SILENCE_MAX_MS = 15_000;
const FRAME_BYTES_MAX = 8 * 1024 * 1024;
/** How many devices the hub lets one reader watch. */
const WATCHED_MAX = 50;

/**
 * `hub` as in rest.js. A listener has some of `state(word, why)`, `changes(list)`, `telemetry(byDevice)`,
 * `flow(frame)` and `load()`, which is called when the link is there, and again whenever something may have been
 * missed: what is known must be asked for.
 */
function createLive(hub, random = Math.random) {
  const listeners = new Set();
  const watches = new Map();
  let followed = null;
  let socket = null;
  let seq = null;
  let attempt = 0;
  let timer;
  let silence;
  let isThere = false;
  let isTelling = false;

  function open() {
    const url = hub.address.replace(/^http/, 'ws') + pathAfter(seq);
    const headers = { Authorization: `Bearer ${hub.token}` };
    const opened = new WebSocket(url, { ...hub.tls, headers, maxPayload: FRAME_BYTES_MAX });
    let why = 'the link was closed';
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => opened.terminate(), SILENCE_MAX_MS);
    };
    socket = opened;
    opened.on('open', () => {
      heard();
      say('live');
      tell();
    });
    opened.on('ping', heard);
    opened.on('message', (data, isBinary) => {
      heard();
      if (!isBinary) receive(data.toString('utf8'));
    });
    opened.on('unexpected-response', (_, answer) => {
      why = answer.statusCode === 401 ? 'the hub does not know the API token' : `status ${answer.statusCode}`;
      answer.resume();
      opened.terminate();
    });
    opened.on('error', (error) => {
      if (error.code) why = error.message;
    });
    opened.on('close', () => {
      clearTimeout(silence);
      if (socket === opened) later(why);
    });
  }

  function later(why) {
    socket = null;
    say('waits', why);
    timer = setTimeout(open, waitBefore(attempt, random()));
    attempt += 1;
  }

  function say(word, why) {
    isThere = false;
    for (const listener of [...listeners]) listener.state?.(word, why);
  }

  function receive(text) {
    const frame = readFrame(text, seq);
    seq = frame.seq;
    attempt = 0;
    isThere ||= frame.kind === 'hello';
    for (const listener of [...listeners]) {
      if (frame.kind === 'changes' && frame.content.length > 0) listener.changes?.(frame.content);
      if (frame.kind === 'telemetry') listener.telemetry?.(frame.content);
      if (frame.kind === 'flow') listener.flow?.(frame.content);
      if (frame.kind === 'hello' || frame.kind === 'resync') listener.load?.();
    }
  }

  /** Several nodes change what they want in the same moment: one frame says it all. */
  function tell() {
    if (isTelling) return;
    isTelling = true;
    queueMicrotask(() => {
      isTelling = false;
      if (socket?.readyState !== WebSocket.OPEN) return;
      const watch = [...new Set([...watches.values()].flat())].slice(0, WATCHED_MAX);
      socket.send(JSON.stringify({ watch }));
      if (followed !== null) socket.send(JSON.stringify({ follow_flow: followed }));
    });
  }

  function close() {
    clearTimeout(timer);
    clearTimeout(silence);
    const closed = socket;
    socket = null;
    attempt = 0;
    closed?.terminate();
    say('off');
  }

  return {
    /** Listens until the returned function is called. */
    listen(listener) {
      listeners.add(listener);
      if (listeners.size === 1) open();
      else if (isThere) {
        listener.state?.('live');
        listener.load?.();
      }
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) close();
      };
    },
    /** Asks for the telemetry of these devices until the returned function is called. */
    watch(ids) {
      const key = Symbol('watch');
      watches.set(key, ids);
      tell();
      return () => {
        watches.delete(key);
        tell();
      };
    },
    /** Asks for what goes along the wires of a flow: the hub lets one reader follow one. */
    follow(flow) {
      followed = flow;
      tell();
    },
  };
}

module.exports = { createLive, WATCHED_MAX };
