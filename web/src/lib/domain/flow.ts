//! Flows as they are drawn: the document, and what is said of a step in one line. The hub reads and checks documents;
//! this only helps to write them.
import { kindOf, type Kind } from './kinds';
import { spanText } from './span';
import { textOfValue } from './value';

/** A step with its settings, which depend on its kind. */
export type Step = {
  id: string;
  kind: Kind;
  name?: string;
  requires?: string[];
  prefers?: string[];
  runs_on?: string | null;
  x: number;
  y: number;
  [setting: string]: unknown;
};
export type Wire = { from: string; to: string };
export type Weights = Record<WeightName, number>;
export type WeightName = 'priorities' | 'load' | 'specificity' | 'neighbourhood' | 'stickiness';
export type Graph = {
  steps: Step[];
  wires: Wire[];
  boards?: string;
  take_over?: boolean;
  weights?: Partial<Weights>;
};
export type Rule = { operator: string; value?: unknown; to?: unknown };
export type Case = { when: unknown; then: unknown };

export const EMPTY: Graph = { steps: [], wires: [] };
export const WEIGHTS: Weights = {
  priorities: 0.5,
  load: 0.4,
  specificity: 0.1,
  neighbourhood: 0.2,
  stickiness: 0.5,
};

/** Every operator with its sign and how many values it compares with. */
export const OPERATORS: Record<string, { sign: string; operands: 0 | 1 | 2 }> = {
  lt: { sign: '<', operands: 1 },
  lte: { sign: '≤', operands: 1 },
  gt: { sign: '>', operands: 1 },
  gte: { sign: '≥', operands: 1 },
  eq: { sign: '=', operands: 1 },
  neq: { sign: '≠', operands: 1 },
  between: { sign: 'between', operands: 2 },
  true: { sign: 'is true', operands: 0 },
  false: { sign: 'is false', operands: 0 },
  null: { sign: 'is null', operands: 0 },
  not_null: { sign: 'is not null', operands: 0 },
};

/** A graph as the hub gave it. What it left out because it says nothing is put in where the editor needs it. */
export function graphOf(given: unknown): Graph {
  const graph = (given ?? {}) as Partial<Graph>;
  return { ...graph, steps: graph.steps ?? [], wires: graph.wires ?? [] };
}

export const wireKey = (wire: Wire): string => `${wire.from}>${wire.to}`;
export const stepOf = (graph: Graph, id: string): Step | undefined =>
  graph.steps.find((step) => step.id === id);

/** What a step is called: its name, or what it is with its number. */
export function nameOf(step: Step): string {
  if (step.name) return step.name;
  const number = /_(\d+)$/.exec(step.id)?.[1];
  return number === undefined ? kindOf(step.kind).title : `${kindOf(step.kind).title} ${number}`;
}

/** The name of a step by its id, even if there is no such step any more. */
export function nameIn(graph: Graph | undefined, id: string): string {
  const step = graph === undefined ? undefined : stepOf(graph, id);
  return step === undefined ? id : nameOf(step);
}

/** What a step does, in one line. */
export function summaryOf(step: Step): string {
  const text = (name: string): string => (typeof step[name] === 'string' ? (step[name] as string) : '');
  const span = (name: string): string => spanText(step[name]);
  switch (step.kind) {
    case 'sensor':
      return `${text('sensor').toUpperCase()} on pin ${step.pin ?? 0}, every ${span('every_ms')}`;
    case 'metric':
      return [text('metric'), text('device')].filter(Boolean).join(' of ');
    case 'topic':
    case 'publish':
      return text('topic');
    case 'timer':
      return `every ${span('every_ms')}`;
    case 'compare':
      return `${text('property') || 'value'} ${rulesOf(step).map(ruleText).join(' and ')}`;
    case 'debounce':
      return `after ${span('quiet_ms')} of silence`;
    case 'average':
      return `of ${step.count ?? 10}${text('property') ? ` × ${text('property')}` : ''}`;
    case 'expression':
      return text('expression');
    case 'map':
      return casesOf(step)
        .map((one) => `${textOfValue(one.when)} → ${textOfValue(one.then)}`)
        .join(', ');
    case 'code':
      return text('language') === 'lua' ? 'Lua' : 'Python';
    case 'failure':
      return tagsOf(step).join(', ');
    case 'switch':
      return [text('path'), text('device')].filter(Boolean).join(' of ');
    case 'command':
      return [text('command'), text('device')].filter(Boolean).join(' to ');
    case 'webhook':
      return text('url').replace(/^https?:\/\//, '');
    default:
      return '';
  }
}

export const rulesOf = (step: Step): Rule[] => (Array.isArray(step.rules) ? (step.rules as Rule[]) : []);
export const casesOf = (step: Step): Case[] => (Array.isArray(step.cases) ? (step.cases as Case[]) : []);
const tagsOf = (step: Step): string[] => (Array.isArray(step.tags) ? (step.tags as string[]) : []);

function ruleText(rule: Rule): string {
  const { sign, operands } = OPERATORS[rule.operator] ?? { sign: rule.operator, operands: 1 };
  if (operands === 0) return sign;
  const first = textOfValue(rule.value);
  return operands === 1 ? `${sign} ${first}` : `${sign} ${first} and ${textOfValue(rule.to)}`;
}
