//! Tests of shadow: rows, controls and wishes.
import { expect, test } from 'vitest';
import type { ShadowRevision } from '../api/contract';
import { isOlder, kindOf, revisionsOf, rowsOf, typedWish, wishFor, type Shadow } from './shadow';

const at = (timestamp: number) => ({ timestamp });
const SHADOW: Shadow = {
  name: null,
  state: {
    desired: { on: true, colour: { hue: 120 } },
    reported: { on: false, colour: { hue: 120 }, list: [1, 2], none: {} },
    delta: { on: true },
  },
  metadata: {
    desired: { on: at(10), colour: { hue: at(5) } },
    reported: { on: at(7), colour: { hue: at(6) }, list: [at(1), at(2)], none: {} },
  },
  tags: {},
  expiry: { on: 99_000 },
  version: 3,
  updated_at: '2026-11-28T00:00:00Z',
};

test('there is one row for each leaf, with its age and whether it is pending', () => {
  const rows = rowsOf(SHADOW).map((row) => [row.path.join('.'), row.desired, row.reported, row.isPending]);
  expect(rows).toEqual([
    ['colour.hue', 120, 120, false],
    ['list', undefined, [1, 2], false],
    ['none', undefined, {}, false],
    ['on', true, false, true],
  ]);
  const on = rowsOf(SHADOW)[3];
  expect([on?.desired_at, on?.reported_at, on?.ends_at]).toEqual([10_000, 7_000, 99_000]);
  expect(rowsOf(SHADOW)[1]?.reported_at).toBe(2_000);
});

test('the control fits the value', () => {
  const kinds = [
    kindOf('on', true),
    kindOf('hue', 120),
    kindOf('hue', 1200),
    kindOf('brightness', 40),
    kindOf('temperature', 21.5),
    kindOf('colour', '#00FF7f'),
    kindOf('name', 'kitchen'),
    kindOf('list', [1]),
  ];
  expect(kinds).toEqual(['switch', 'slider', 'number', 'slider', 'number', 'colour', 'text', 'json']);
});

test('a wish is the tree that leads to it', () => {
  expect(wishFor(['colour', 'hue'], 5)).toEqual({ state: { desired: { colour: { hue: 5 } } } });
  expect(wishFor(['on'], null)).toEqual({ state: { desired: { on: null } } });
});

test('what is typed is JSON, or else a text', () => {
  expect(typedWish('colour.hue', '5')).toEqual({ path: ['colour', 'hue'], value: 5 });
  expect(typedWish('room', 'kitchen')).toEqual({ path: ['room'], value: 'kitchen' });
  expect(typedWish('a..b', '1')).toHaveProperty('error');
});

test('each revision shows what it changed since the one before', () => {
  const revision = (number: number, desired: object, reported: object): ShadowRevision => ({
    revision: number,
    version: number,
    at: '2026-11-28T00:00:00Z',
    actor_kind: 'user',
    actor: 'ada',
    desired: { ...desired },
    reported: { ...reported },
    is_deleted: false,
  });
  const rows = revisionsOf([
    revision(3, { on: true }, { on: true }),
    revision(2, { on: true, colour: { hue: 1 } }, { on: false }),
    revision(1, { on: true, colour: { hue: 2 } }, {}),
  ]);
  expect(rows.map(({ changes }) => changes)).toEqual([
    [
      { field: 'desired.colour.hue', before: '1', after: null },
      { field: 'reported.on', before: 'false', after: 'true' },
    ],
    [
      { field: 'desired.colour.hue', before: '2', after: '1' },
      { field: 'reported.on', before: null, after: 'false' },
    ],
    [
      { field: 'desired.on', before: null, after: 'true' },
      { field: 'desired.colour.hue', before: null, after: '2' },
    ],
  ]);
});

test('what was overtaken on its way is older, and a deleted shadow is not', () => {
  expect(isOlder({ ...SHADOW, version: 2 }, SHADOW)).toBe(true);
  expect([isOlder(SHADOW, SHADOW), isOlder({ ...SHADOW, version: 4 }, SHADOW)]).toEqual([false, false]);
  expect([isOlder(null, SHADOW), isOlder(SHADOW, null)]).toEqual([false, false]);
});
