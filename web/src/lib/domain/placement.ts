//! Where the steps of a flow run, and why, for people: where each is, what spoke for each board, and what would move.
import type { Candidate, Flow, Place, Placement, PlacedStep, WireCount } from '../api/contract';
import type { WeightName } from './flow';
import type { Tone } from './state';

export type Badge = { tone: Tone; text: string };
/** A step that runs elsewhere in another placement. */
export type Move = { step: string; from: string; to: string };

/** The parts of a score: what each is called, and what it speaks for. */
export const PARTS: [name: WeightName, title: string, about: string][] = [
  ['priorities', 'Preferred', 'The share of the preferred capabilities that it has'],
  ['load', 'Load', 'How little else it runs'],
  ['specificity', 'Fit', 'How little else it can do: boards that can do more are kept for others'],
  [
    'neighbourhood',
    'Neighbours',
    'The share of the neighbouring steps that it runs: they reach each other directly',
  ],
  ['stickiness', 'Stays', 'That it runs the step already'],
];

export function placeText(place: Place | null | undefined): string {
  if (place === null || place === undefined) return 'no place';
  return place.hub === true ? 'the hub' : (place.name ?? place.device ?? 'a board');
}

/** Where a step runs as a badge. */
export function badgeOfPlace(placed: PlacedStep, boards: Placement['boards']): Badge {
  const { place } = placed;
  if (place === null) return { tone: 'bad', text: 'No place' };
  if (place.hub === true) return { tone: 'info', text: 'Hub' };
  const board = boards.find((one) => one.device === place.device);
  const isThere = board === undefined || board.online;
  return { tone: isThere ? 'ok' : 'warn', text: isThere ? placeText(place) : `${placeText(place)}, away` };
}

const keyOf = (place: Place | null | undefined): string =>
  place === null || place === undefined ? '' : place.hub === true ? 'hub' : (place.device ?? '');

/** The steps that run elsewhere in `after`. */
export function movesBetween(before: Placement, after: Placement): Move[] {
  const was = new Map(before.steps.map((placed) => [placed.step, placed.place]));
  return after.steps
    .filter((placed) => keyOf(was.get(placed.step)) !== keyOf(placed.place))
    .map((placed) => ({
      step: placed.step,
      from: was.has(placed.step) ? placeText(was.get(placed.step)) : 'nowhere',
      to: placeText(placed.place),
    }));
}

/** How many steps are where, the boards with most first: «3 on bench-1, 1 on the hub, 1 without a place». */
export function sumOf(placement: Placement): string {
  const counts = new Map<string, number>();
  for (const { place } of placement.steps) {
    const where = place === null ? 'without a place' : `on ${placeText(place)}`;
    counts.set(where, (counts.get(where) ?? 0) + 1);
  }
  return [...counts]
    .sort(([a, one], [b, other]) => other - one || a.localeCompare(b))
    .map(([where, count]) => `${count} ${where}`)
    .join(', ');
}

export const scoreText = (score: number | null | undefined): string =>
  score === null || score === undefined ? '' : score.toFixed(2);

/** The part that counts most for a board, or what stands against it. */
export function mainReason(candidate: Candidate): string {
  if (candidate.obstacle !== null) return candidate.obstacle;
  const parts = candidate.parts;
  if (parts === null) return '';
  const best = PARTS.reduce((most, part) => (parts[part[0]] > parts[most[0]] ? part : most));
  return best[2];
}

/** The boards that run steps. */
export function boardsOf(placement: Pick<Placement, 'boards'>): { device: string; name: string }[] {
  return placement.boards.filter((board) => board.steps.length > 0);
}

/** Counts of wires as the live link tells them, put over those that were loaded. What is older is not put over. */
export function countWires(
  loaded: WireCount[],
  live: [from: string, to: string, messages: number, value: unknown][],
): WireCount[] {
  const fresh = new Map(live.map((wire) => [`${wire[0]}>${wire[1]}`, wire]));
  return loaded.map((wire) => {
    const found = fresh.get(`${wire.from}>${wire.to}`);
    return found === undefined || found[2] < wire.messages
      ? wire
      : { ...wire, messages: found[2], last_value: found[3] };
  });
}

/** «12.4 kB», as boards say their memory. */
export function bytesText(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return '';
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** «1 234», «12.3 k»: short enough to stand on a wire. */
export function countText(count: number): string {
  if (count < 10_000) return count.toLocaleString('en');
  return count < 1_000_000 ? `${(count / 1000).toFixed(1)} k` : `${(count / 1_000_000).toFixed(1)} M`;
}

/** How a flow is, in one word. */
export function badgeOfFlow(flow: Pick<Flow, 'state' | 'unplaced'>): Badge {
  if (flow.state === 'running') return { tone: 'ok', text: 'Running' };
  if (flow.state === 'stopped') return { tone: 'idle', text: 'Stopped' };
  const steps = flow.unplaced === 1 ? 'one step has' : `${flow.unplaced} steps have`;
  return { tone: 'bad', text: flow.unplaced > 0 ? `Partly: ${steps} no place` : 'Partly' };
}
