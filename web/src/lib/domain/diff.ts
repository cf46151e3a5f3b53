//! Differences as people read them: a script's changed lines with a little around them, a change's changed
//! fields.
import type { DiffLine } from '../api/contract';

export type Hunk = { kind: 'lines'; lines: DiffLine[] } | { kind: 'folded'; count: number };
export type FieldChange = { field: string; before: string | null; after: string | null };

const CONTEXT_LINES = 3;
const NOTHING = 'none';
/** Folding fewer lines than this would hide more than it saves. */
const FOLD_MIN = 4;

/** Long runs of unchanged lines are folded; `context` lines stay around every change. */
export function hunks(lines: DiffLine[], context = CONTEXT_LINES): Hunk[] {
  const shown = new Array<boolean>(lines.length).fill(false);
  lines.forEach((line, index) => {
    if (line.op === ' ') return;
    const end = Math.min(lines.length - 1, index + context);
    for (let near = Math.max(0, index - context); near <= end; near += 1) shown[near] = true;
  });
  const result: Hunk[] = [];
  for (let start = 0; start < lines.length;) {
    let end = start;
    while (end < lines.length && shown[end] === shown[start]) end += 1;
    const run = lines.slice(start, end);
    const folded = !shown[start] && run.length >= FOLD_MIN;
    const last = result.at(-1);
    if (folded) result.push({ kind: 'folded', count: run.length });
    else if (last?.kind === 'lines') last.lines.push(...run);
    else result.push({ kind: 'lines', lines: run });
    start = end;
  }
  return result;
}

export function counts(lines: DiffLine[]): { added: number; removed: number } {
  return {
    added: lines.filter((line) => line.op === '+').length,
    removed: lines.filter((line) => line.op === '-').length,
  };
}

/** Which fields differ between `before` and `after` of a change; nested documents by their path. */
export function fieldChanges(before: unknown, after: unknown): FieldChange[] {
  const left = flatten(before);
  const right = flatten(after);
  const fields = [...new Set([...left.keys(), ...right.keys()])];
  return fields
    .map((field) => ({ field, before: left.get(field) ?? null, after: right.get(field) ?? null }))
    .filter((change) => change.before !== change.after && !isNothing(change));
}

/** A field that was not there and now holds nothing says nothing. */
function isNothing(change: FieldChange): boolean {
  return (change.before ?? NOTHING) === NOTHING && (change.after ?? NOTHING) === NOTHING;
}

function flatten(value: unknown, path = '', into = new Map<string, string>()): Map<string, string> {
  if (value === null || value === undefined) {
    if (path !== '') into.set(path, NOTHING);
  } else if (typeof value === 'object' && !Array.isArray(value)) {
    for (const [name, inner] of Object.entries(value))
      flatten(inner, path === '' ? name : `${path}.${name}`, into);
  } else {
    into.set(path === '' ? 'value' : path, textOf(value));
  }
  return into;
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value === '' ? NOTHING : value;
  if (Array.isArray(value)) return value.length === 0 ? NOTHING : value.map(textOf).join(', ');
  return JSON.stringify(value) ?? '';
}
