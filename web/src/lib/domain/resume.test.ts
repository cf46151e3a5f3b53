//! Tests of resume: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import { pathAfter, readFrame, waitBefore, watchSet } from './resume';

const START = { seq: null, hub: null };
const frame = (value: unknown): string => JSON.stringify(value);
const change = (seq: number) => ({ seq, kind: 'device_online' });

test('the first hello says where the feed is', () => {
  expect(readFrame(frame({ hello: { seq: 7 } }), START).position).toEqual({ seq: 7, hub: 7 });
});

test('a hello after a lost link does not skip what was missed', () => {
  const hello = readFrame(frame({ hello: { seq: 12 } }), { seq: 7, hub: 7 });
  expect(hello).toEqual({ position: { seq: 7, hub: 12 }, meaning: { kind: 'hello' } });
  expect(pathAfter(7)).toBe('/api/v1/live?after=7');
});

test('changes that were seen already are left out', () => {
  const reading = readFrame(frame({ changes: [change(6), change(7), change(8)], seq: 8 }), {
    seq: 7,
    hub: 7,
  });
  expect(reading.position.seq).toBe(8);
  expect(reading.meaning).toEqual({ kind: 'changes', changes: [change(8)] });
});

test('after too long an absence everything is loaded anew, from where the hub is', () => {
  const reading = readFrame(frame({ resync: true }), { seq: 7, hub: 5000 });
  expect(reading).toEqual({ position: { seq: 5000, hub: 5000 }, meaning: { kind: 'resync' } });
});

test('a hub with another history makes the page load anew', () => {
  const reading = readFrame(frame({ hello: { seq: 3 } }), { seq: 900, hub: 900 });
  expect(reading).toEqual({ position: { seq: 3, hub: 3 }, meaning: { kind: 'resync' } });
});

test('telemetry does not move the position', () => {
  const reading = readFrame(frame({ telemetry: { abc: [['t', 1, 21.5]] } }), { seq: 7, hub: 7 });
  expect(reading.position.seq).toBe(7);
  expect(reading.meaning).toEqual({ kind: 'telemetry', telemetry: { abc: [['t', 1, 21.5]] } });
});

test.each(['not json', '[]', '7', '{"later":1}'])(
  'a frame that is not understood is passed over: %s',
  (text) => {
    expect(readFrame(text, { seq: 7, hub: 7 })).toEqual({
      position: { seq: 7, hub: 7 },
      meaning: { kind: 'unknown' },
    });
  },
);

test('the wait grows, is spread, and ends at twenty seconds', () => {
  expect(waitBefore(0, 0)).toBe(250);
  expect(waitBefore(0, 1)).toBe(500);
  expect(waitBefore(3, 1)).toBe(4000);
  expect(waitBefore(50, 1)).toBe(20_000);
  expect(waitBefore(50, 0)).toBe(10_000);
});

test('watched devices are a set with a bound', () => {
  expect(
    watchSet([
      ['a', 'b'],
      ['b', 'c'],
    ]),
  ).toEqual(['a', 'b', 'c']);
  expect(watchSet([Array.from({ length: 80 }, (_, index) => String(index))])).toHaveLength(50);
});
