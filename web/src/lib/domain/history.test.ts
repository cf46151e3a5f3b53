//! Tests of history: lines, bands, gaps and stretches.
import { describe, expect, it } from 'vitest';
import type { HistorySeries } from '../api/contract';
import { plotOf, stretchesOf, valueWith } from './history';

function series(start: number[], avg: (number | null)[], extra: Partial<HistorySeries> = {}): HistorySeries {
  return {
    device: 'd',
    device_name: 'Lamp',
    metric: 't',
    display_name: null,
    unit: null,
    decimals: null,
    start,
    count: start.map(() => 2),
    first: start,
    last: start.map((time) => time + 5),
    min: avg.map((value) => (value === null ? null : value - 1)),
    max: avg.map((value) => (value === null ? null : value + 1)),
    avg,
    sum: avg,
    value: avg,
    changes: start.map(() => null),
    ...extra,
  };
}

describe('history', () => {
  it('lies over one axis of time', () => {
    const plot = plotOf([series([0, 10, 20], [1, 2, 3]), series([10, 20, 30], [5, 6, 7])], 10);
    expect(plot.times).toEqual([0.005, 0.015, 0.025, 0.035]);
    expect(plot.columns[1]).toEqual([1, 2, 3, undefined]);
    expect(plot.columns[4]).toEqual([undefined, 5, 6, 7]);
    expect(plot.columns[3]).toEqual([undefined, 4, 5, 6]);
  });

  it('breaks where a device was silent', () => {
    const plot = plotOf([series([0, 10, 20, 30, 500, 510], [1, 1, 1, 1, 1, 1])], 10);
    expect(plot.columns[1]).toEqual([1, 1, 1, 1, null, 1, 1]);
  });

  it('has no line through a gap in which others have points', () => {
    const silent = series([0, 10, 20, 30, 500, 510], [1, 1, 1, 1, 1, 1]);
    const plot = plotOf([silent, series([100, 110], [5, 5])], 10);
    expect(plot.columns[1]).toEqual([1, 1, 1, 1, null, null, null, 1, 1]);
  });

  it('has stretches of values that are no numbers', () => {
    const states = series([0, 10, 20, 30], [null, null, null, null], {
      value: ['on', 'on', 'off', 'on'],
      changes: [0, 0, 1, 0],
    });
    expect(stretchesOf(states, 10)).toEqual([
      { from: 0, to: 20, text: 'on', changes: 0 },
      { from: 20, to: 30, text: 'off', changes: 1 },
      { from: 30, to: 35, text: 'on', changes: 0 },
    ]);
  });

  it('writes values with their unit', () => {
    expect(valueWith(21.456, { unit: '°C', decimals: 1 })).toBe('21.5 °C');
    expect(valueWith(21.456, {})).toBe('21.46');
    expect(valueWith(35012.5, {})).toBe('35012.5');
  });
});
