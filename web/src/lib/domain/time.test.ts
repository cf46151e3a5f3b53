//! Tests of time: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import { ago, duration, full } from './time';

const NOW = Date.parse('2026-11-21T12:00:00.000Z');

test.each([
  [0, 'just now'],
  [4, 'just now'],
  [5, '5 s ago'],
  [59, '59 s ago'],
  [60, '1 min ago'],
  [3599, '59 min ago'],
  [3600, '1 h ago'],
  [86_400, '1 d ago'],
  [86_400 * 90, '2 mo ago'],
  [86_400 * 800, '2 y ago'],
  [-3600, 'in 1 h'],
])('%i s before now is «%s»', (seconds, text) => {
  expect(ago(NOW - seconds * 1000, NOW)).toBe(text);
});

test('what is no time is said to be unknown', () => {
  expect(ago('yesterday', NOW)).toBe('unknown');
  expect(full('yesterday')).toBe('unknown');
});

test.each([
  [850, '850 ms'],
  [4200, '4.2 s'],
  [42_000, '42 s'],
  [200_000, '3 min 20 s'],
  [7_500_000, '2 h 5 min'],
  [90_000_000, '1 d 1 h'],
  [-5, '0 ms'],
])('%i ms last «%s»', (milliseconds, text) => {
  expect(duration(milliseconds)).toBe(text);
});
