//! What differs between two versions of a flow, step by step and wire by wire. Where steps are drawn does not count.
import { fieldChanges, type FieldChange } from './diff';
import { nameIn, nameOf, stepOf, wireKey, type Graph, type Step } from './flow';
import { kindOf } from './kinds';

export type Difference = {
  op: '+' | '-' | '~';
  /** A step, a wire, or the flow itself. */
  what: string;
  fields: FieldChange[];
};

export function differences(before: Graph, after: Graph): Difference[] {
  const isIn = (graph: Graph, step: Step): boolean => stepOf(graph, step.id) !== undefined;
  const removed = before.steps.filter((step) => !isIn(after, step)).map((step) => whole('-', step));
  const added = after.steps.filter((step) => !isIn(before, step)).map((step) => whole('+', step));
  const changed = after.steps.flatMap((step) => {
    const was = stepOf(before, step.id);
    const fields = was === undefined ? [] : fieldChanges(plain(was), plain(step));
    return fields.length === 0 ? [] : [{ op: '~' as const, what: nameOf(step), fields }];
  });
  const settings = fieldChanges(rest(before), rest(after));
  const flow = settings.length === 0 ? [] : [{ op: '~' as const, what: 'The flow', fields: settings }];
  return [
    ...flow,
    ...added,
    ...removed,
    ...changed,
    ...wires('+', after, before),
    ...wires('-', before, after),
  ];
}

function whole(op: '+' | '-', step: Step): Difference {
  const fields = fieldChanges(op === '-' ? plain(step) : null, op === '+' ? plain(step) : null);
  const title = kindOf(step.kind).title;
  return { op, what: nameOf(step) === title ? title : `${nameOf(step)} (${title})`, fields };
}

function wires(op: '+' | '-', of: Graph, not: Graph): Difference[] {
  const known = new Set(not.wires.map(wireKey));
  return of.wires
    .filter((wire) => !known.has(wireKey(wire)))
    .map((wire) => ({ op, what: `${nameIn(of, wire.from)} → ${nameIn(of, wire.to)}`, fields: [] }));
}

/** A step without where it is drawn and what its name says already; lists of objects as text. */
function plain(step: Step): Record<string, unknown> {
  const { id: _id, kind: _kind, x: _x, y: _y, ...settings } = step;
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [name, isDeep(value) ? JSON.stringify(value) : value]),
  );
}

function isDeep(value: unknown): boolean {
  return Array.isArray(value) && value.some((one) => typeof one === 'object');
}

function rest(graph: Graph): Record<string, unknown> {
  return { boards: graph.boards, take_over: graph.take_over === true, weights: graph.weights };
}
