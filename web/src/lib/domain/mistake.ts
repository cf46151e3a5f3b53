//! Where in a drawing a mistake is. The hub begins its sentences with the path of the field:
//! «steps.warm.rules[0].value: …», «wires[2].to: …».
import { nameOf, stepOf, wireKey, type Graph } from './flow';

export type Mistake = {
  /** Of the step that it is at, if it is at one. */
  step: string | null;
  /** The wire, by its key. */
  wire: string | null;
  /** The setting, such as `rules`, and the rest of the path, such as `[0].value`; empty for the step itself. */
  field: string;
  rest: string;
  /** What is wrong, without the path. */
  why: string;
  /** In characters from 1, in a text such as an expression. */
  position: number | null;
};

export function mistakeIn(graph: Graph, problem: { detail: string; position?: number }): Mistake {
  const [, path, why] = /^((?:steps|wires|boards|weights|take_over|name|flow)[\w.[\]]*): ([^]*)$/.exec(
    problem.detail,
  ) ?? [null, '', problem.detail];
  const found = {
    step: null,
    wire: null,
    field: '',
    rest: '',
    why: why ?? '',
    position: problem.position ?? null,
  };
  const step = /^steps(?:\.(\w+)|\[(\d+)\])(?:\.(\w+)(.*))?$/.exec(path ?? '');
  if (step !== null) {
    const id = step[1] ?? graph.steps[Number(step[2])]?.id ?? null;
    return { ...found, step: id, field: step[3] ?? '', rest: step[4] ?? '' };
  }
  const wire = /^wires\[(\d+)\]/.exec(path ?? '');
  const drawn = wire === null ? undefined : graph.wires[Number(wire[1])];
  if (drawn !== undefined) return { ...found, wire: wireKey(drawn) };
  const other = /^(\w+)(.*)$/.exec(path ?? '');
  return { ...found, field: other?.[1] ?? '', rest: other?.[2] ?? '', step: null };
}

/** The mistake as a sentence that says where it is, in the words of the drawing. */
export function sentenceOfMistake(graph: Graph, mistake: Mistake): string {
  const step = mistake.step === null ? undefined : stepOf(graph, mistake.step);
  const field = `${mistake.field}${mistake.rest}`;
  const where = [step === undefined ? '' : nameOf(step), field].filter((part) => part !== '').join(', ');
  return where === '' ? mistake.why : `${where}: ${mistake.why}`;
}

/** What is wrong with one field of one step, if that is where the mistake is. */
export function wrongIn(mistake: Mistake | null, step: string, field: string): Mistake | null {
  return mistake !== null && mistake.step === step && mistake.field === field ? mistake : null;
}
