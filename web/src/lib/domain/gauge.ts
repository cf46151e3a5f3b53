//! A dial as arcs: where on it a value is, and the paths of its bands.
import type { Band } from './dashboard';

/** From lower left over the top to lower right, in degrees from the top. */
const HALF = 120;
export const MIDDLE = { x: 60, y: 60 };

/** Where between the two ends, from 0 to 1; outside of them it is at the end. */
export function partOf(value: number, min: number, max: number): number {
  return max > min ? Math.min(1, Math.max(0, (value - min) / (max - min))) : 0;
}

/** The path of an arc between two parts of the dial. */
export function arc(from: number, to: number, radius: number): string {
  const [a, b] = [pointAt(from, radius), pointAt(to, radius)];
  const isLarge = (to - from) * 2 * HALF > 180 ? 1 : 0;
  return `M${a.x} ${a.y}A${radius} ${radius} 0 ${isLarge} 1 ${b.x} ${b.y}`;
}

export function pointAt(part: number, radius: number): { x: number; y: number } {
  const angle = ((part * 2 - 1) * HALF * Math.PI) / 180;
  const round = (value: number): number => Math.round(value * 100) / 100;
  return { x: round(MIDDLE.x + radius * Math.sin(angle)), y: round(MIDDLE.y - radius * Math.cos(angle)) };
}

/** Each band from where it begins to where the next one does. */
export function bandsOf(
  bands: Band[],
  min: number,
  max: number,
): { from: number; to: number; colour: Band['colour'] }[] {
  const sorted = [...bands].sort((a, b) => a.from - b.from);
  return sorted.flatMap((band, at) => {
    const from = partOf(band.from, min, max);
    const to = partOf(sorted[at + 1]?.from ?? max, min, max);
    return to > from ? [{ from, to, colour: band.colour }] : [];
  });
}

/** The colour of the band that a value is in. */
export function colourAt(bands: Band[], value: number): Band['colour'] | null {
  const sorted = [...bands].sort((a, b) => a.from - b.from);
  return sorted.findLast((band) => band.from <= value)?.colour ?? null;
}
