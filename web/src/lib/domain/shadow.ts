//! A shadow as rows for people: one for each leaf, with what is desired, what is reported, how old that is, and which
//! control fits its value; and its history as what each revision changed.
import type { ShadowRevision } from '../api/contract';
import { fieldChanges, type FieldChange } from './diff';

export type Tree = Record<string, unknown>;
export type Shadow = {
  name: string | null;
  state: { desired?: Tree; reported?: Tree; delta?: Tree };
  metadata: { desired?: Tree; reported?: Tree };
  tags: Tree;
  expiry: Tree;
  version: number;
  updated_at: string;
};
export type Kind = 'switch' | 'slider' | 'number' | 'colour' | 'text' | 'json';
export type Row = {
  /** The names that lead to the leaf. */
  path: string[];
  desired: unknown;
  reported: unknown;
  /** When each was said, in milliseconds since 1970. */
  desired_at: number | undefined;
  reported_at: number | undefined;
  /** It is desired and not reported. */
  isPending: boolean;
  /** When the wish ends by itself. */
  ends_at: number | undefined;
  kind: Kind;
};

const COLOUR = /^#[0-9a-f]{6}$/i;
/** Names whose numbers are parts of a whole, and how large that is. */
const SCALES: [RegExp, number][] = [
  [/^(hue)$/i, 360],
  [/(brightness|level|dim|percent|volume|position|humidity)/i, 100],
  [/^(red|green|blue|white|pwm|duty)$/i, 255],
];

/** Whether it is from before what is shown: an answer can be overtaken by what a device reported after it. */
export function isOlder(next: Shadow | null, shown: Shadow | null): boolean {
  return next !== null && shown !== null && next.version < shown.version;
}

/** The leaves of a tree; arrays and empty objects are leaves. */
function leaves(tree: Tree, path: string[] = []): { path: string[]; value: unknown }[] {
  return Object.entries(tree).flatMap(([name, value]) => {
    const here = [...path, name];
    return isTree(value) && Object.keys(value).length > 0 ? leaves(value, here) : [{ path: here, value }];
  });
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What is at the end of a path; undefined if nothing is. */
export function at(tree: unknown, path: string[]): unknown {
  return path.reduce<unknown>((found, name) => (isTree(found) ? found[name] : undefined), tree);
}

/** One row for each leaf of what is desired or reported, by name. */
export function rowsOf(shadow: Shadow): Row[] {
  const { desired = {}, reported = {}, delta = {} } = shadow.state;
  const paths = new Map<string, string[]>();
  for (const { path } of [...leaves(desired), ...leaves(reported)]) paths.set(JSON.stringify(path), path);
  const rows = [...paths.values()].map((path): Row => {
    const [wish, fact] = [at(desired, path), at(reported, path)];
    return {
      path,
      desired: wish,
      reported: fact,
      desired_at: timeOf(at(shadow.metadata.desired, path)),
      reported_at: timeOf(at(shadow.metadata.reported, path)),
      isPending: at(delta, path) !== undefined,
      ends_at: numberOrNone(at(shadow.expiry, path)),
      kind: kindOf(path.at(-1) ?? '', wish ?? fact),
    };
  });
  return rows.sort((a, b) => nameOf(a.path).localeCompare(nameOf(b.path)));
}

/** What each revision changed since the one before it; the newest is first. */
export function revisionsOf(items: ShadowRevision[]): { made: ShadowRevision; changes: FieldChange[] }[] {
  const tree = (made: ShadowRevision | undefined) =>
    made && { desired: made.desired, reported: made.reported };
  return items.map((made, index) => ({ made, changes: fieldChanges(tree(items[index + 1]), tree(made)) }));
}

/** `colour.hue` */
export function nameOf(path: string[]): string {
  return path.join('.');
}

/** The control that fits a value of this name. */
export function kindOf(name: string, value: unknown): Kind {
  if (typeof value === 'boolean') return 'switch';
  if (typeof value === 'number') return scaleOf(name, value) === null ? 'number' : 'slider';
  if (typeof value === 'string') return COLOUR.test(value) ? 'colour' : 'text';
  return 'json';
}

/** How far a slider of this name goes; null if none fits. */
export function scaleOf(name: string, value: number): number | null {
  const scale = SCALES.find(([pattern]) => pattern.test(name))?.[1];
  return scale !== undefined && Number.isInteger(value) && value >= 0 && value <= scale ? scale : null;
}

/** The update that wishes for one leaf; null takes the wish back. */
export function wishFor(path: string[], value: unknown): { state: { desired: unknown } } {
  return { state: { desired: path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) } };
}

/** A new wish as somebody typed it: `colour.hue` and JSON, or else a text. */
export function typedWish(
  path: string,
  value: string,
): { path: string[]; value: unknown } | { error: string } {
  const names = path.split('.').map((name) => name.trim());
  if (names.some((name) => name === ''))
    return { error: 'Name what you wish for, such as on or colour.hue.' };
  try {
    return { path: names, value: JSON.parse(value) as unknown };
  } catch {
    return { path: names, value };
  }
}

/** The newest time among those of a leaf: an array has one for each item. */
function timeOf(stamps: unknown): number | undefined {
  if (Array.isArray(stamps)) {
    const times = stamps.map(timeOf).filter((time) => time !== undefined);
    return times.length > 0 ? Math.max(...times) : undefined;
  }
  const seconds = isTree(stamps) ? numberOrNone(stamps.timestamp) : undefined;
  return seconds === undefined ? undefined : seconds * 1000;
}

function numberOrNone(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
