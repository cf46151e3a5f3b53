//! Tests of points: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import { insertPoint, numberText, seriesOf, thinOut, valueText, windowOf, withGaps } from './points';

test('only numbers are drawn, in the order of their times', () => {
  const series = seriesOf([
    { time: 30, value: 3 },
    { time: 10, value: 1 },
    { time: 20, value: 'two' },
  ]);
  expect(series).toEqual({ times: [10, 30], values: [1, 3] });
});

test('a late point finds its place, a repeated one is left out, another value at the same time is kept', () => {
  let series = insertPoint({ times: [10, 30], values: [1, 3] }, 20, 2);
  expect(series.times).toEqual([10, 20, 30]);
  series = insertPoint(series, 30, 3);
  expect(series.times).toEqual([10, 20, 30]);
  expect(insertPoint(series, 30, 4).values).toEqual([1, 2, 3, 4]);
});

test('a window keeps one point before its edge', () => {
  const series = { times: [10, 20, 30, 40], values: [1, 2, 3, 4] };
  expect(windowOf(series, 25).times).toEqual([20, 30, 40]);
  expect(windowOf(series, 99).times).toEqual([40]);
  expect(windowOf({ times: [], values: [] }, 5).times).toEqual([]);
});

test('thinning keeps every spike', () => {
  const times = Array.from({ length: 10_000 }, (_, index) => index);
  const values = times.map((time) => (time === 4321 ? 99 : time === 8765 ? -99 : Math.sin(time)));
  const thin = thinOut({ times, values }, 200);
  expect(thin.times.length).toBeLessThanOrEqual(200);
  expect(Math.max(...thin.values.map((value) => value ?? 0))).toBe(99);
  expect(Math.min(...thin.values.map((value) => value ?? 0))).toBe(-99);
  expect(thin.times).toEqual(thin.times.toSorted((a, b) => a - b));
});

test('a silence breaks the line', () => {
  const series = withGaps({ times: [0, 10, 20, 500, 510], values: [1, 2, 3, 4, 5] });
  expect(series.times).toEqual([0, 10, 20, 21, 500, 510]);
  expect(series.values).toEqual([1, 2, 3, null, 4, 5]);
});

test('values are written short and as text', () => {
  expect(numberText(21.500000001)).toBe('21.5');
  expect(numberText(35012)).toBe('35012');
  expect(numberText(0.000012345678)).toBe('0.0000123457');
  expect(valueText('<b>x</b>')).toBe('<b>x</b>');
  expect(valueText({ x: 1 })).toBe('{"x":1}');
  expect(valueText(false)).toBe('false');
});
