import { describe, expect, it } from 'vitest';
import { arrange, fitting, freePlace, nudged, settled, shifted, type Cell } from './grid';

const cell = (id: string, x: number, y: number, w = 3, h = 2): Cell => ({ id, x, y, w, h });
const placed = (cells: Cell[]): Record<string, string> =>
  Object.fromEntries(cells.map(({ id, x, y, w, h }) => [id, `${x},${y} ${w}x${h}`]));
const noneOver = (cells: Cell[]): boolean =>
  cells.every((a, i) =>
    cells
      .slice(i + 1)
      .every((b) => a.x >= b.x + b.w || b.x >= a.x + a.w || a.y >= b.y + b.h || b.y >= a.y + a.h),
  );

describe('the grid', () => {
  it.each<[string, Cell[], Cell, Record<string, string>]>([
    ['a block moves into free columns', [cell('a', 0, 0)], cell('a', 6, 0), { a: '6,0 3x2' }],
    ['it rises to the top', [cell('a', 0, 0)], cell('a', 3, 9), { a: '3,0 3x2' }],
    ['it stays inside', [cell('a', 0, 0)], cell('a', 11, -4), { a: '9,0 3x2' }],
    [
      'it pushes down what is in its way',
      [cell('a', 0, 0), cell('b', 3, 0)],
      cell('a', 2, 0),
      { a: '2,0 3x2', b: '3,2 3x2' },
    ],
    [
      'moved down past the middle of another, they change places',
      [cell('a', 0, 0), cell('b', 0, 2)],
      cell('a', 0, 2),
      { b: '0,0 3x2', a: '0,2 3x2' },
    ],
    [
      'before the middle of another nothing changes',
      [cell('a', 0, 0), cell('b', 0, 2, 3, 4)],
      cell('a', 0, 1),
      { a: '0,0 3x2', b: '0,2 3x4' },
    ],
    [
      'moved up into the upper half of another, they change places',
      [cell('a', 0, 0, 3, 4), cell('b', 0, 4)],
      cell('b', 0, 1),
      { b: '0,0 3x2', a: '0,2 3x4' },
    ],
    [
      'a larger block pushes',
      [cell('a', 0, 0), cell('b', 3, 0), cell('c', 0, 2)],
      cell('a', 0, 0, 6, 3),
      { a: '0,0 6x3', b: '3,3 3x2', c: '0,3 3x2' },
    ],
  ])('%s', (_what, cells, wanted, expected) => {
    const next = arrange(cells, wanted);
    expect(placed(next)).toEqual(expected);
    expect(noneOver(next)).toBe(true);
  });

  it('never lays one over another, whatever is moved where', () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % below;
    };
    let cells = Array.from({ length: 12 }, (_, i) => cell(`b${i}`, (i * 3) % 12, Math.floor(i / 4) * 2));
    for (let turn = 0; turn < 500; turn += 1) {
      const wanted = cell(`b${random(12)}`, random(16) - 2, random(20) - 2, 1 + random(12), 1 + random(5));
      cells = arrange(cells, wanted);
      expect(noneOver(cells)).toBe(true);
      expect(cells.every((one) => one.x >= 0 && one.x + one.w <= 12 && one.y >= 0)).toBe(true);
      expect(cells).toHaveLength(12);
    }
  });

  it('steps over what is in its way, and back', () => {
    const cells = [cell('a', 0, 0), cell('b', 0, 2, 3, 5)];
    const down = nudged(cells, 'a', 0, 1);
    expect(placed(down)).toEqual({ b: '0,0 3x5', a: '0,5 3x2' });
    expect(placed(nudged(down, 'a', 0, -1))).toEqual(placed(cells));
    expect(nudged(down, 'a', 0, 1)).toBe(down);
    expect(placed(nudged(cells, 'a', 1, 0))).toEqual({ a: '1,0 3x2', b: '0,2 3x5' });
  });

  it('changes places in the order of a phone', () => {
    const cells = [cell('a', 0, 0), cell('b', 3, 0, 6), cell('c', 0, 2)];
    expect(placed(shifted(cells, 'b', -1))).toEqual({ b: '0,0 6x2', a: '3,2 3x2', c: '0,2 3x2' });
    expect(shifted(cells, 'a', -1)).toBe(cells);
    expect(shifted(cells, 'c', 1)).toBe(cells);
  });

  it('finds room for another', () => {
    expect(freePlace([], 3, 2)).toEqual({ x: 0, y: 0 });
    expect(freePlace([cell('a', 0, 0), cell('b', 6, 0)], 3, 2)).toEqual({ x: 3, y: 0 });
    expect(freePlace([cell('a', 0, 0), cell('b', 6, 0)], 6, 2)).toEqual({ x: 0, y: 2 });
  });

  it('settles what was laid over each other, and leaves other layouts as they are', () => {
    const fine = [cell('a', 0, 0), cell('b', 0, 7)];
    expect(settled(fine)).toBe(fine);
    expect(placed(settled([cell('a', 0, 0), cell('b', 1, 1)]))).toEqual({ a: '0,0 3x2', b: '1,2 3x2' });
  });

  it('makes a place fit', () => {
    expect(fitting({ x: 20, y: -1, w: 40, h: 99 })).toEqual({ x: 0, y: 0, w: 12, h: 40 });
  });
});
