//! What can be done to a drawn graph, each as a new graph.
import { nameOf, stepOf, wireKey, type Graph, type Step, type Wire } from './flow';
import { kindOf, type Kind } from './kinds';

export type At = { x: number; y: number };
/** Where things are laid: everything stands on multiples of this. */
export const GRID = 10;
/** So far apart are steps that are added without saying where. */
const COLUMN = 230;
const ROW = 110;

const onGrid = (at: At): At => ({ x: Math.round(at.x / GRID) * GRID, y: Math.round(at.y / GRID) * GRID });

/** Adds a step. `after`: what it follows; they are wired if they fit. */
export function add(graph: Graph, kind: Kind, at: At | null, after?: string): { graph: Graph; id: string } {
  const id = freeId(graph, kind);
  const place = onGrid(at ?? freePlace(graph, after));
  const step: Step = { id, kind, ...structuredClone(kindOf(kind).start), ...place };
  const grown: Graph = { ...graph, steps: [...graph.steps, step] };
  const fits = at === null && after !== undefined && whyNot(grown, after, id) === null;
  return { graph: fits ? connect(grown, after, id) : grown, id };
}

function freeId(graph: Graph, kind: Kind): string {
  const taken = new Set(graph.steps.map((step) => step.id));
  for (let number = 1; ; number += 1) {
    const id = number === 1 ? kind : `${kind}_${number}`;
    if (!taken.has(id)) return id;
  }
}

/** Right of the step before it, or of nothing in particular; then down to where nothing stands. */
function freePlace(graph: Graph, after?: string): At {
  const before = after === undefined ? graph.steps.at(-1) : stepOf(graph, after);
  if (before === undefined) return { x: 0, y: 0 };
  const at = { x: before.x + (kindOf(before.kind).emits ? COLUMN : 0), y: before.y };
  const isTaken = (): boolean =>
    graph.steps.some((step) => Math.abs(step.x - at.x) < COLUMN - 40 && Math.abs(step.y - at.y) < ROW - 20);
  while (isTaken()) at.y += ROW;
  return at;
}

/** Why a wire cannot be drawn, or null if it can. */
export function whyNot(graph: Graph, from: string, to: string): string | null {
  const [source, target] = [stepOf(graph, from), stepOf(graph, to)];
  if (source === undefined || target === undefined) return 'There is no such step.';
  if (!kindOf(source.kind).emits) return `${nameOf(source)} emits nothing.`;
  if (!kindOf(target.kind).takes) return `${nameOf(target)} takes nothing.`;
  if (from === to || reaches(graph, to, from)) return 'A value would go round for ever.';
  if (graph.wires.some((wire) => wire.from === from && wire.to === to)) return 'They are connected already.';
  return null;
}

function reaches(graph: Graph, from: string, to: string): boolean {
  const seen = new Set<string>([from]);
  const open = [from];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    for (const wire of graph.wires) {
      if (wire.from !== id || seen.has(wire.to)) continue;
      seen.add(wire.to);
      open.push(wire.to);
    }
  }
  return seen.has(to);
}

export function connect(graph: Graph, from: string, to: string): Graph {
  return whyNot(graph, from, to) === null ? { ...graph, wires: [...graph.wires, { from, to }] } : graph;
}

/** Takes steps away with their wires, and wires by their keys. */
export function remove(graph: Graph, steps: string[], wires: string[] = []): Graph {
  const stays = (wire: Wire): boolean =>
    !steps.includes(wire.from) && !steps.includes(wire.to) && !wires.includes(wireKey(wire));
  return {
    ...graph,
    steps: graph.steps.filter((step) => !steps.includes(step.id)),
    wires: graph.wires.filter(stays),
  };
}

export function move(graph: Graph, places: Map<string, At>): Graph {
  const moved = (step: Step): Step => {
    const at = places.get(step.id);
    return at === undefined ? step : { ...step, ...onGrid(at) };
  };
  return { ...graph, steps: graph.steps.map(moved) };
}

/** Moves steps by a number of grid lines. */
export function nudge(graph: Graph, ids: string[], right: number, down: number): Graph {
  const moved = graph.steps.filter((step) => ids.includes(step.id));
  return move(
    graph,
    new Map(moved.map((step) => [step.id, { x: step.x + right * GRID, y: step.y + down * GRID }])),
  );
}

/** Sets a member of a step; undefined takes it away. */
export function set(graph: Graph, id: string, changes: Record<string, unknown>): Graph {
  const changed = (step: Step): Step => {
    if (step.id !== id) return step;
    const next = Object.entries({ ...step, ...changes }).filter(([, value]) => value !== undefined);
    return Object.fromEntries(next) as Step;
  };
  return { ...graph, steps: graph.steps.map(changed) };
}
