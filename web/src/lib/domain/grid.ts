//! Where blocks stand on a grid of twelve columns. A block that is moved or made larger pushes others away; then all
//! rise as far as they can. Every function answers new places and leaves the given ones alone.

export const COLUMNS = 12;
export const ROWS_MAX = 40;
/** Where the top of a block may be. */
export const TOP_MAX = 999;

export type Spot = { x: number; y: number; w: number; h: number };
export type Cell = Spot & { id: string };

/** In the order in which they are read, and in which they stand on a phone. */
export function inOrder<T extends Spot>(cells: T[]): T[] {
  return [...cells].sort((a, b) => a.y - b.y || a.x - b.x);
}

/** A place made to fit the grid. */
export function fitting<T extends Spot>(spot: T): T {
  const w = between(Math.round(spot.w), 1, COLUMNS);
  const x = between(Math.round(spot.x), 0, COLUMNS - w);
  return {
    ...spot,
    x,
    w,
    y: between(Math.round(spot.y), 0, TOP_MAX),
    h: between(Math.round(spot.h), 1, ROWS_MAX),
  };
}

/** All with one of them at another place or of another size. */
export function arrange(cells: Cell[], wanted: Cell): Cell[] {
  const moved = fitting(wanted);
  const before = cells.find((cell) => cell.id === moved.id);
  const sinks = before !== undefined && moved.y > before.y;
  const others = inOrder(cells.filter((cell) => cell.id !== moved.id));
  const at = others.findIndex((other) => isAcross(other, moved) && goesFirst(moved, other, sinks));
  const split = at < 0 ? others.length : at;
  return risen([...others.slice(0, split), moved, ...others.slice(split)]);
}

/** A block takes the place of another when its edge has passed the other's middle. */
function goesFirst(moved: Spot, other: Spot, sinks: boolean): boolean {
  const middle = other.y + other.h / 2;
  return sinks ? moved.y + moved.h <= middle : moved.y < middle;
}

/** Everything as high as it can be, none above one that was before it in its columns. */
export function risen(cells: Cell[]): Cell[] {
  const heights = new Array<number>(COLUMNS).fill(0);
  return cells.map((cell) => {
    const y = Math.max(...heights.slice(cell.x, cell.x + cell.w));
    heights.fill(y + cell.h, cell.x, cell.x + cell.w);
    return { ...cell, y };
  });
}

/** One step in a direction. A block jumps over what stands in its way: a step down always changes something, unless it
    is the lowest of its columns. */
export function nudged(cells: Cell[], id: string, right: number, down: number): Cell[] {
  const cell = cells.find((one) => one.id === id);
  if (cell === undefined) return cells;
  if (down === 0) return arrange(cells, { ...cell, x: cell.x + right });
  const bottom = Math.max(...cells.map((one) => one.y + one.h));
  for (let step = 1; step <= bottom; step += 1) {
    const next = arrange(cells, { ...cell, y: cell.y + down * step });
    if (!isSame(next, cells)) return next;
  }
  return cells;
}

/** One place earlier (-1) or later (1) in the order of a phone: the two change places. */
export function shifted(cells: Cell[], id: string, by: -1 | 1): Cell[] {
  const order = inOrder(cells);
  const at = order.findIndex((cell) => cell.id === id);
  const [one, other] = [order[at], order[at + by]];
  if (one === undefined || other === undefined) return cells;
  const swapped = order.map((cell) =>
    cell === one
      ? fitting({ ...one, x: other.x, y: other.y })
      : cell === other
        ? fitting({ ...other, x: one.x, y: one.y })
        : cell,
  );
  swapped[at] = swapped.splice(at + by, 1, swapped[at] as Cell)[0] as Cell;
  return risen(swapped);
}

/** The first place where a block of this size fits. */
export function freePlace(cells: Spot[], w: number, h: number): { x: number; y: number } {
  const bottom = Math.max(0, ...cells.map((cell) => cell.y + cell.h));
  for (let y = 0; y < bottom; y += 1) {
    for (let x = 0; x + w <= COLUMNS; x += 1) {
      const spot = { x, y, w, h };
      if (!cells.some((cell) => isOver(cell, spot))) return { x, y };
    }
  }
  return { x: 0, y: bottom };
}

/** No two in the same place; those that are stay in their order and sink. */
export function settled(cells: Cell[]): Cell[] {
  const collides = cells.some((one, index) => cells.slice(index + 1).some((other) => isOver(one, other)));
  return collides ? risen(inOrder(cells)) : cells;
}

function isSame(some: Cell[], others: Cell[]): boolean {
  return some.every((one) => {
    const other = others.find((cell) => cell.id === one.id);
    return (
      other !== undefined && other.x === one.x && other.y === one.y && other.w === one.w && other.h === one.h
    );
  });
}

function isAcross(a: Spot, b: Spot): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w;
}

function isOver(a: Spot, b: Spot): boolean {
  return isAcross(a, b) && a.y < b.y + b.h && b.y < a.y + a.h;
}

function between(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
