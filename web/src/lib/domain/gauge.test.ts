import { expect, it } from 'vitest';
import { arc, bandsOf, colourAt, partOf, pointAt } from './gauge';

it('is between its ends, whatever the value is', () => {
  expect([-5, 0, 25, 100, 900].map((value) => partOf(value, 0, 100))).toEqual([0, 0, 0.25, 1, 1]);
  expect(partOf(3, 5, 5)).toBe(0);
});

it('has its middle at the top', () => {
  expect(pointAt(0.5, 50)).toEqual({ x: 60, y: 10 });
  expect(arc(0, 1, 50)).toMatch(/^M16\.7 85A50 50 0 1 1 103\.3 85$/);
  expect(arc(0, 0.25, 50)).toContain(' 0 0 1 ');
});

it('has bands up to the next one', () => {
  const bands = [
    { from: 80, colour: 'red' as const },
    { from: 0, colour: 'green' as const },
    { from: 300, colour: 'grey' as const },
  ];
  expect(bandsOf(bands, 0, 100)).toEqual([
    { from: 0, to: 0.8, colour: 'green' },
    { from: 0.8, to: 1, colour: 'red' },
  ]);
  expect([-1, 10, 80, 500].map((value) => colourAt(bands, value))).toEqual([null, 'green', 'red', 'grey']);
});
