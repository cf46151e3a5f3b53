//! The live link: what was seen stays seen, and the hub is not asked too often.
'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { pathAfter, readFrame, waitBefore } = require('../lib/resume.js');

const read = (frame, seq) => readFrame(JSON.stringify(frame), seq);
const change = (seq) => ({ seq, kind: 'device_event' });

test('a first link begins where the hub is, a further one where it was', () => {
  assert.deepEqual(read({ hello: { seq: 7 } }, null), { seq: 7, kind: 'hello' });
  assert.deepEqual(read({ hello: { seq: 9 } }, 7), { seq: 7, kind: 'hello' });
  assert.equal(pathAfter(null), '/api/v1/live');
  assert.equal(pathAfter(7), '/api/v1/live?after=7');
});

test('changes come once', () => {
  const frame = read({ changes: [change(7), change(8), change(9)], seq: 9 }, 8);
  assert.deepEqual(frame, { seq: 9, kind: 'changes', content: [change(9)] });
  assert.deepEqual(read({ changes: [change(9)], seq: 9 }, 9).content, []);
});

test('a hub with another history, or too much that was missed, means to ask again', () => {
  assert.deepEqual(read({ hello: { seq: 3 } }, 7), { seq: 3, kind: 'resync' });
  assert.deepEqual(read({ resync: true }, 7), { seq: null, kind: 'resync' });
});

test('what means nothing changes nothing', () => {
  for (const text of ['', '[]', 'null', '7', '{"telemetry": 7}', '{"changes": {}}', '{"hello"']) {
    assert.deepEqual(readFrame(text, 7), { seq: 7, kind: 'unknown' }, text);
  }
});

test('attempts become rarer, up to a bound, and spread', () => {
  const waits = [0, 1, 2, 9, 1e9].map((attempt) => waitBefore(attempt, 1));
  assert.deepEqual(waits, [500, 1000, 2000, 20_000, 20_000]);
  assert.equal(waitBefore(2, 0), 1000);
});
