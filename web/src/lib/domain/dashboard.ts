//! A dashboard as a document: blocks of several kinds on a grid, each bound to a device or to all that a selector picks.
import { freePlace, inOrder, risen, settled, type Cell, type Spot } from './grid';
import { kindOf } from './blocks';

export const FORMAT = 'motehub-dashboard/1';
export const BLOCKS_MAX = 100;
export const SERIES_MAX = 12;
export const COLUMNS_MAX = 8;
export const PICTURE_BYTES_MAX = 256 * 1024;
export const MARKDOWN_BYTES_MAX = 16 * 1024;

/** One device, or the devices of a selector. */
export type Of = { device: string } | { selector: string };
/** What is read of a device. Paths have dots. */
export type Read = { metric: string } | { reported: string } | { desired: string } | { presence: true };
export type Colour = 'green' | 'yellow' | 'red' | 'blue' | 'grey';
export type Band = { from: number; colour: Colour };
export type Series = { of: Of; metric: string; label?: string };
export type Statistic = 'last' | 'min' | 'max' | 'mean' | 'sum';

/** The fields of each kind. */
export type Fields = {
  value: { of: Of; read: Read; unit?: string; decimals?: number };
  gauge: {
    of: Of;
    read: Read;
    min: number;
    max: number;
    unit?: string;
    decimals?: number;
    bands?: Band[];
  };
  chart: { series: Series[]; range: number; unit?: string };
  bar: { of: Of; metric: string; statistic: Statistic; range: number };
  timeline: { of: Of; read: Read; range: number };
  switch: { of: Of; path: string; on?: unknown; off?: unknown };
  slider: { of: Of; path: string; min: number; max: number; step: number };
  button: { of: Of; command: string; arguments?: unknown; label?: string; confirm?: boolean };
  colour: { of: Of; path: string };
  input: { of: Of; path: string; kind_of: 'text' | 'number' };
  table: { selector: string; columns: Read[] };
  map: { selector: string };
  image: { picture: string; alt?: string };
  text: { markdown: string };
  alarms: { selector?: string };
  flow: { flow: string };
};
export type Kind = keyof Fields;
type Common = Cell & { title?: string };
export type BlockOf<K extends Kind> = Common & { kind: K } & Fields[K];
export type Block = { [K in Kind]: BlockOf<K> }[Kind];
export type Document = { format: string; name: string; description: string; blocks: Block[] };

/** A device of a block, as the hub tells it. */
export type Shown = {
  id: string;
  name: string;
  reach: 'online' | 'offline' | 'unreachable';
  value: unknown;
  at: number | null;
  desired?: unknown;
  latitude?: number;
  longitude?: number;
  cells?: { value: unknown; at: number | null }[];
};

export const empty = (name: string): Document => ({ format: FORMAT, name, description: '', blocks: [] });

/** Adds a block of a kind where there is room for it. */
export function add(document: Document, kind: Kind): { document: Document; id: string } {
  const { size, start } = kindOf(kind);
  const id = freeId(document);
  const block = {
    id,
    kind,
    title: '',
    ...size,
    ...freePlace(document.blocks, size.w, size.h),
    ...structuredClone(start),
  };
  return { document: { ...document, blocks: [...document.blocks, block as Block] }, id };
}

/** Another one like it, where there is room. */
export function copy(document: Document, id: string): { document: Document; id: string } | null {
  const block = document.blocks.find((one) => one.id === id);
  if (block === undefined) return null;
  const made = freeId(document);
  const twin = { ...structuredClone(block), id: made, ...freePlace(document.blocks, block.w, block.h) };
  return { document: { ...document, blocks: [...document.blocks, twin] }, id: made };
}

export function remove(document: Document, id: string): Document {
  const rest = inOrder(document.blocks.filter((block) => block.id !== id));
  return withCells(document, risen(rest));
}

/** Sets members of a block; undefined takes one away. */
export function set(document: Document, id: string, changes: Record<string, unknown>): Document {
  const blocks = document.blocks.map((block) => {
    if (block.id !== id) return block;
    const members = Object.entries({ ...block, ...changes }).filter(([, value]) => value !== undefined);
    return Object.fromEntries(members) as Block;
  });
  return { ...document, blocks };
}

/** The blocks at these places; those that are not named are gone. */
export function withCells(document: Document, cells: Cell[]): Document {
  const blocks = cells.flatMap(({ id, x, y, w, h }) => {
    const block = document.blocks.find((one) => one.id === id);
    if (block === undefined) return [];
    const isThere = block.x === x && block.y === y && block.w === w && block.h === h;
    return [isThere ? block : { ...block, x, y, w, h }];
  });
  const isSame =
    blocks.length === document.blocks.length && blocks.every((block, at) => block === document.blocks[at]);
  return isSame ? document : { ...document, blocks };
}

/** As it is shown: in the order of reading, no block over another. */
export function laidOut(document: Document): Document {
  return withCells(document, settled(inOrder(document.blocks)));
}

export const cellOf = ({ id, x, y, w, h }: Spot & { id: string }): Cell => ({ id, x, y, w, h });

function freeId(document: Document): string {
  const taken = new Set(document.blocks.map((block) => block.id));
  for (let number = 1; ; number += 1) if (!taken.has(`b${number}`)) return `b${number}`;
}

/** What a block is called: its title, or its kind. */
export function titleOf(block: Block): string {
  return block.title?.trim() || kindOf(block.kind).title;
}

/** What is missing before a block shows anything, or null. */
export function missingOf(block: Block): string | null {
  if ('of' in block && !isBound(block.of)) return 'Choose a device or a group.';
  if ('read' in block && !isRead(block.read)) return 'Choose what is read.';
  if ('metric' in block && block.metric === '') return 'Choose a metric.';
  if ('path' in block && block.path === '') return 'Say what of the shadow is set.';
  if ('min' in block && block.min >= block.max) return 'The highest value must be above the lowest.';
  switch (block.kind) {
    case 'chart':
      return block.series.some(({ of, metric }) => isBound(of) && metric !== '') ? null : 'Add a series.';
    case 'button':
      return block.command === '' ? 'Say which command is given.' : null;
    case 'table':
    case 'map':
      return block.selector === '' ? 'Say which devices are shown.' : null;
    case 'text':
      return block.markdown.trim() === '' ? 'Write something.' : null;
    case 'image':
      return block.picture === '' ? 'Choose a picture.' : null;
    case 'flow':
      return block.flow === '' ? 'Choose a flow.' : null;
    default:
      return null;
  }
}

function isBound(of: Of): boolean {
  return 'device' in of ? of.device !== '' : of.selector.trim() !== '';
}

function isRead(read: Read): boolean {
  return 'presence' in read || Object.values(read).every((name) => name !== '');
}

/** What a text of a file is: a document, or why it is none. The hub looks at what is in it. */
export function readFile(text: string): { document: Document } | { mistake: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { mistake: 'This file is no JSON. Choose a file that was exported from a dashboard.' };
  }
  const format = typeof value === 'object' && value !== null ? (value as Document).format : undefined;
  if (typeof format !== 'string' || !format.startsWith('motehub-dashboard/'))
    return { mistake: 'This file is no dashboard: it does not begin with a format of motehub-dashboard.' };
  return { document: value as Document };
}
