//! Tests of diff: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import type { DiffLine } from '../api/contract';
import { counts, fieldChanges, hunks } from './diff';

const same = (number: number): DiffLine => ({ op: ' ', old: number, new: number, text: `line ${number}` });

test('long unchanged stretches are folded, with three lines around every change', () => {
  const lines: DiffLine[] = [
    ...Array.from({ length: 10 }, (_, index) => same(index + 1)),
    { op: '+', old: null, new: 11, text: 'new' },
    ...Array.from({ length: 5 }, (_, index) => same(index + 12)),
  ];
  const parts = hunks(lines);
  expect(parts[0]).toEqual({ kind: 'folded', count: 7 });
  // Two lines are left at the end: folding them would hide more than it saves.
  expect(parts).toHaveLength(2);
  expect(parts[1]).toMatchObject({ kind: 'lines' });
  expect(parts[1]?.kind === 'lines' && parts[1].lines).toHaveLength(9);
  expect(counts(lines)).toEqual({ added: 1, removed: 0 });
});

test('only the fields that differ are shown, nested ones by their path', () => {
  const before = { name: 'Lamp', tags: ['a'], place: { floor: 1, room: 'x' } };
  const after = { name: 'Lamp', tags: ['a', 'b'], place: { floor: 2, room: 'x' } };
  expect(fieldChanges(before, after)).toEqual([
    { field: 'tags', before: 'a', after: 'a, b' },
    { field: 'place.floor', before: '1', after: '2' },
  ]);
});

test('a field that holds nothing, and held nothing, is left out', () => {
  expect(fieldChanges(null, { tags: [], description: '' })).toEqual([]);
});

test('what was not there before has no before', () => {
  expect(fieldChanges(null, { role: 'viewer' })).toEqual([{ field: 'role', before: null, after: 'viewer' }]);
  expect(fieldChanges({ address: '10.0.0.1' }, { address: null })).toEqual([
    { field: 'address', before: '10.0.0.1', after: 'none' },
  ]);
});
