//! The drawing of one flow while it is edited: the graph with its past, what is selected, and what the hub says of it a
//! moment after the last change.
import { flows } from '../../lib/api/calls';
import { asProblem } from '../../lib/api/client';
import type { Placement } from '../../lib/api/contract';
import * as draw from '../../lib/domain/draw';
import { EMPTY, type Graph, type Step } from '../../lib/domain/flow';
import type { Kind } from '../../lib/domain/kinds';
import { mistakeIn, type Mistake } from '../../lib/domain/mistake';
import { begin, next, redo, undo } from '../../lib/domain/past';

const REST_MS = 400;
/** What the hub answers when something is wrong with what is drawn. */
const ABOUT_IT = [400, 409, 413, 422];

export type Verdict =
  { kind: 'unknown' } | { kind: 'fine'; plan: Placement } | { kind: 'wrong'; mistake: Mistake };
export type Drawing = ReturnType<typeof drawing>;

/** Must be called while a component is set up. `flowId`: of the flow that is drawn anew, if there is one. */
export function drawing(isReadOnly: () => boolean, flowId: () => string | null) {
  let past = $state.raw(begin(EMPTY));
  let saved = $state.raw<Graph>(EMPTY);
  let opened = $state(0);
  let steps = $state.raw<string[]>([]);
  let wires = $state.raw<string[]>([]);
  let verdict = $state.raw<Verdict>({ kind: 'unknown' });
  const graph = $derived(past.now);
  const selected = $derived<Step | null>(
    steps.length === 1 ? (graph.steps.find((step) => step.id === steps[0]) ?? null) : null,
  );

  $effect(() => {
    const checked = graph;
    if (checked.steps.length === 0 || isReadOnly()) {
      verdict = { kind: 'unknown' };
      return;
    }
    const own = new AbortController();
    const timer = setTimeout(() => {
      flows.check(checked, flowId(), own.signal).then(
        ({ plan }) => (verdict = { kind: 'fine', plan }),
        (error: unknown) => {
          const problem = asProblem(error);
          if (problem.code === 'aborted') return;
          // A hub that cannot be asked says nothing of the drawing.
          const isTold = ABOUT_IT.includes(problem.status);
          verdict = isTold ? { kind: 'wrong', mistake: mistakeIn(checked, problem) } : { kind: 'unknown' };
        },
      );
    }, REST_MS);
    return () => {
      clearTimeout(timer);
      own.abort();
    };
  });

  function change(drawn: Graph, key: string | null = null): void {
    if (!isReadOnly()) past = next(past, drawn, key);
  }

  function select(nextSteps: string[], nextWires: string[] = []): void {
    if (nextSteps.join() !== steps.join()) steps = nextSteps;
    if (nextWires.join() !== wires.join()) wires = nextWires;
  }

  return {
    get graph() {
      return graph;
    },
    get steps() {
      return steps;
    },
    get wires() {
      return wires;
    },
    /** The one step that is selected. */
    get selected() {
      return selected;
    },
    get verdict() {
      return verdict;
    },
    get mistake() {
      return verdict.kind === 'wrong' ? verdict.mistake : null;
    },
    /** How often another graph was opened. */
    get opened() {
      return opened;
    },
    get isChanged() {
      return graph !== saved;
    },
    get canUndo() {
      return past.before.length > 0;
    },
    get canRedo() {
      return past.after.length > 0;
    },
    change,
    select,
    /** Another graph in place of this one: it is what is kept, and its past begins. */
    open: (opening: Graph) => {
      past = begin(opening);
      saved = opening;
      opened += 1;
      select([]);
    },
    /** What is drawn is kept now; it can still be undone. */
    keep: (kept: Graph) => void (saved = kept),
    undo: () => void (past = undo(past)),
    redo: () => void (past = redo(past)),
    add: (kind: Kind, at: draw.At | null) => {
      const made = draw.add(graph, kind, at, at === null ? selected?.id : undefined);
      change(made.graph);
      select([made.id]);
      return made.id;
    },
    remove: (removed: string[], cut: string[] = []) => {
      change(draw.remove(graph, removed, cut));
      select(steps.filter((id) => !removed.includes(id)));
    },
    connect: (from: string, to: string) => change(draw.connect(graph, from, to)),
    move: (places: Map<string, draw.At>) => change(draw.move(graph, places)),
    nudge: (ids: string[], right: number, down: number) =>
      change(draw.nudge(graph, ids, right, down), `nudge ${ids.join()}`),
    /** Sets members of a step. `field`: which, so that what is typed in it is undone at once. */
    set: (id: string, changes: Record<string, unknown>, field: string) =>
      change(draw.set(graph, id, changes), `${id}.${field}`),
    /** Sets something of the flow itself. */
    setFlow: (changes: Partial<Graph>, field: string) => change({ ...graph, ...changes }, field),
  };
}
