//! What is shown on a step and on a wire besides what was drawn.
import type { Edge, Node } from '@xyflow/svelte';
import type { Placement } from '../../lib/api/contract';
import { nameIn, nameOf, summaryOf, wireKey, type Graph, type Step, type Wire } from '../../lib/domain/flow';
import type { Mistake } from '../../lib/domain/mistake';
import { badgeOfPlace, countText, type Badge, type Move } from '../../lib/domain/placement';

export type StepLook = {
  /** Where it runs, or would run. */
  badge: Badge | null;
  /** The badge says where it would run. */
  isPlan: boolean;
  /** What is wrong with it, as it is drawn. */
  wrong: string | null;
  /** How often it could do nothing with a value. */
  errors: number;
  /** Where it would move. */
  move: Move | null;
};
export type WireLook = { messages: number | null; value: unknown; crosses: boolean; wrong: string | null };
export type StepNode = Node<{ step: Step; look: StepLook }, 'step'>;
export type WireEdge = Edge<{ look: WireLook }, 'wire'>;

export type Shown = {
  graph: Graph;
  mistake: Mistake | null;
  /** Where it runs. */
  placement: Placement | null;
  /** Where it would run. */
  plan: Placement | null;
  moves: Move[];
};

export function lookOfStep(step: Step, shown: Shown): StepLook {
  const { placement, plan, mistake } = shown;
  const from = plan ?? placement;
  const placed = from?.steps.find((one) => one.step === step.id);
  const errors = placement?.errors.filter((error) => error.step === step.id) ?? [];
  return {
    badge: from === null || placed === undefined ? null : badgeOfPlace(placed, from.boards),
    isPlan: plan !== null,
    wrong: mistake?.step === step.id ? [mistake.field, mistake.why].filter(Boolean).join(': ') : null,
    errors: errors.reduce((sum, error) => sum + error.count, 0),
    move: shown.moves.find((move) => move.step === step.id) ?? null,
  };
}

export function lookOfWire(wire: Wire, shown: Shown): WireLook {
  const counted = shown.placement?.wires.find((one) => one.from === wire.from && one.to === wire.to);
  return {
    messages: counted?.messages ?? null,
    value: counted?.last_value,
    crosses: counted?.crosses ?? false,
    wrong: shown.mistake?.wire === wireKey(wire) ? shown.mistake.why : null,
  };
}

export const isSame = (one: unknown, other: unknown): boolean =>
  JSON.stringify(one) === JSON.stringify(other);

/** A step for those who hear the page. */
export function spokenStep(step: Step, look: StepLook): string {
  const parts = [nameOf(step), summaryOf(step)];
  if (look.badge !== null) parts.push(`${look.isPlan ? 'would run on' : 'runs on'} ${look.badge.text}`);
  if (look.move !== null) parts.push(`would move from ${look.move.from} to ${look.move.to}`);
  if (look.wrong !== null) parts.push(look.wrong);
  return parts.filter(Boolean).join(', ');
}

export function spokenWire(graph: Graph, wire: Wire, look: WireLook): string {
  const count = look.messages === null ? '' : `, ${countText(look.messages)} values`;
  return `Wire from ${nameIn(graph, wire.from)} to ${nameIn(graph, wire.to)}${count}`;
}
