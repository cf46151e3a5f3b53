//! Tests of placement: where steps are, what would move, how counts on wires go on.
import { expect, test } from 'vitest';
import type { Placement } from '../api/contract';
import { badgeOfPlace, bytesText, countText, countWires, mainReason, movesBetween, sumOf } from './placement';

const candidate = { device: 'd1', name: 'bench-1', online: true, total: 0.6, obstacle: null, chosen: true };
const parts = { priorities: 0, load: 0.4, specificity: 0.1, neighbourhood: 0.1, stickiness: 0 };

function placed(places: Record<string, string | null>): Placement {
  const steps = Object.entries(places).map(([step, name]) => ({
    step,
    kind: 'pass',
    place:
      name === null ? null : name === 'hub' ? { hub: true } : { hub: false, device: `id of ${name}`, name },
    why: '',
    candidates: [],
  }));
  const board = { steps: [], steps_of_others: 0, limit: null, free_memory_bytes: null, task: null };
  const away = { device: 'id of bench-3', name: 'bench-3', online: false, digest: null, size_bytes: null };
  return { version: 1, settled: true, steps, boards: [{ ...board, ...away }], wires: [], errors: [] };
}

test('a step is on a board, on the hub, or nowhere', () => {
  const all = placed({ a: 'bench-1', b: 'hub', c: null, d: 'bench-3' });
  expect(all.steps.map((step) => badgeOfPlace(step, all.boards))).toEqual([
    { tone: 'ok', text: 'bench-1' },
    { tone: 'info', text: 'Hub' },
    { tone: 'bad', text: 'No place' },
    { tone: 'warn', text: 'bench-3, away' },
  ]);
  expect(sumOf(all)).toBe('1 on bench-1, 1 on bench-3, 1 on the hub, 1 without a place');
});

test('what runs elsewhere has moved', () => {
  const before = placed({ a: 'bench-1', b: 'bench-1', c: 'hub' });
  const after = placed({ a: 'bench-1', b: 'bench-2', c: null, d: 'hub' });
  expect(movesBetween(before, after)).toEqual([
    { step: 'b', from: 'bench-1', to: 'bench-2' },
    { step: 'c', from: 'the hub', to: 'no place' },
    { step: 'd', from: 'nowhere', to: 'the hub' },
  ]);
});

test('counts go on, and never back', () => {
  const wire = { from: 'a', to: 'b', messages: 5, dropped: 0, last_at: null, last_value: 1, crosses: true };
  expect(countWires([wire], [['a', 'b', 7, 2]])[0]).toMatchObject({ messages: 7, last_value: 2 });
  expect(countWires([wire], [['a', 'b', 4, 2]])[0]).toBe(wire);
  expect(countWires([wire], [['a', 'c', 9, 2]])[0]).toBe(wire);
});

test('what counts most is said, and what stands against a board', () => {
  expect(mainReason({ ...candidate, parts })).toBe('How little else it runs');
  expect(mainReason({ ...candidate, parts: null, obstacle: 'it lacks relay' })).toBe('it lacks relay');
});

test.each([
  [850, '850 B'],
  [12_400, '12.4 kB'],
  [2_100_000, '2.1 MB'],
  [null, ''],
])('%s bytes', (bytes, text) => expect(bytesText(bytes)).toBe(text));

test.each([
  [7, '7'],
  [1234, '1,234'],
  [12_345, '12.3 k'],
  [2_345_678, '2.3 M'],
])('%s messages', (count, text) => expect(countText(count)).toBe(text));
