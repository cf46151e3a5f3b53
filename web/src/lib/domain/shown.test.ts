import { describe, expect, it } from 'vitest';
import type { Shown } from './dashboard';
import { awayText, commonOf, isEqual, lastAt, pendingOf, positionOf, shownText, summaryOf } from './shown';

const device = (value: unknown, more: Partial<Shown> = {}): Shown => ({
  id: 'a',
  name: 'Lamp',
  reach: 'online',
  value,
  at: 5,
  ...more,
});

describe('what a block says of its devices', () => {
  it.each<[unknown[], unknown]>([
    [[], { is: 'nothing' }],
    [[null], { is: 'nothing' }],
    [[21.5], { is: 'one', value: 21.5 }],
    [[20, 22, 27], { is: 'numbers', low: 20, high: 27, mean: 23, count: 3 }],
    [[20, null, 22], { is: 'numbers', low: 20, high: 22, mean: 21, count: 2 }],
    [['open', 'open'], { is: 'same', value: 'open', count: 2 }],
    [
      ['open', 'shut', 'shut'],
      {
        is: 'several',
        values: [
          { value: 'shut', count: 2 },
          { value: 'open', count: 1 },
        ],
      },
    ],
  ])('of %j it says %j', (values, expected) => {
    expect(summaryOf(values.map((value) => device(value)))).toEqual(expected);
  });

  it.each<[Shown[], string]>([
    [[], 'unknown'],
    [[device(true)], 'on'],
    [[device(false), device(false)], 'off'],
    [[device(false, { desired: true })], 'on'],
    [[device(true), device(false)], 'mixed'],
    [[device(null)], 'unknown'],
  ])('a switch stands at what is wanted: %j', (devices, expected) => {
    expect(positionOf(devices, true, false)).toBe(expected);
  });

  it('tells who does not report yet what is wanted', () => {
    const pending = device(false, { desired: true });
    expect(
      pendingOf([pending, device(true, { desired: true }), device(1), device(2, { desired: null })]),
    ).toEqual([pending]);
    expect(commonOf([device(1, { desired: 2 }), device(2)])).toBe(2);
    expect(commonOf([device(1), device(2)])).toBeUndefined();
  });

  it('tells who is away', () => {
    const offline = device(1, { reach: 'offline' });
    expect(awayText([device(1)])).toBeNull();
    expect(awayText([offline])).toBe('offline');
    expect(awayText([offline, device(1)])).toBe('1 of 2 offline');
    expect(awayText([offline, offline])).toBe('all 2 offline');
    expect(awayText([offline, device(1, { reach: 'unreachable' }), device(1)])).toBe('2 of 3 away');
    expect(lastAt([device(1, { at: 3 }), device(1, { at: null }), device(1, { at: 9 })])).toBe(9);
    expect(lastAt([])).toBeNull();
  });

  it('compares as JSON does', () => {
    expect(isEqual({ a: [1, { b: 2 }], c: 3 }, { c: 3, a: [1, { b: 2 }] })).toBe(true);
    expect(isEqual([1], { 0: 1 })).toBe(false);
    expect(isEqual({ a: undefined }, { b: 1 })).toBe(false);
    expect(isEqual(null, {})).toBe(false);
  });

  it('shows values as people write them', () => {
    expect(shownText(21.456789)).toBe('21.46');
    expect(shownText(21.456789, { decimals: 0 })).toBe('21');
    expect(shownText(1234567)).toBe('1234567');
    expect(shownText(false)).toBe('off');
    expect(shownText(null)).toBe('–');
    expect(shownText({ a: 1 })).toBe('{"a":1}');
  });
});
