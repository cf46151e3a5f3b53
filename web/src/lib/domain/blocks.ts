//! The kinds of blocks: what each is called and good for, how large it begins, and what its fields are at first.
import type { Fields, Kind } from './dashboard';

export type KindInfo = {
  title: string;
  about: string;
  /** A line drawing in a box of 48 by 32. */
  picture: string;
  size: { w: number; h: number };
  start: Record<string, unknown>;
};

const DAY = 86_400;
const none = { device: '' };
const begin = <K extends Kind>(fields: Fields[K]): Fields[K] => fields;

const KINDS: Record<Kind, KindInfo> = {
  value: {
    title: 'Value',
    about: 'One value in large, with its unit; of a group: the range and the mean.',
    picture: 'M8 22h4V10l-4 2M20 10h8v6h-8v6h8M35 10a2 2 0 1 0 .1 0',
    size: { w: 3, h: 2 },
    start: begin<'value'>({ of: none, read: { metric: '' } }),
  },
  gauge: {
    title: 'Gauge',
    about: 'A value between two ends, with bands of colour.',
    picture: 'M8 26a16 16 0 0 1 32 0M24 26l8-9M22 26h4',
    size: { w: 3, h: 3 },
    start: begin<'gauge'>({ of: none, read: { metric: '' }, min: 0, max: 100 }),
  },
  chart: {
    title: 'Line chart',
    about: 'Metrics over time, past and live, of several devices.',
    picture: 'M6 4v24h38M10 22l8-9 7 5 8-11 8 6',
    size: { w: 6, h: 5 },
    start: begin<'chart'>({ series: [], range: DAY }),
  },
  bar: {
    title: 'Bars',
    about: 'One bar for each device: the last value, mean, sum, highest or lowest.',
    picture: 'M6 6h22v5H6zM6 14h34v5H6zM6 22h14v5H6z',
    size: { w: 4, h: 4 },
    start: begin<'bar'>({ of: none, metric: '', statistic: 'last', range: DAY }),
  },
  timeline: {
    title: 'Timeline',
    about: 'Which state a device was in and how long; a lane for each.',
    picture: 'M6 7h16v6H6zM22 7h10v6H22zM32 7h10v6H32zM6 19h8v6H6zM14 19h28v6H14z',
    size: { w: 6, h: 3 },
    start: begin<'timeline'>({ of: none, read: { reported: '' }, range: DAY }),
  },
  switch: {
    title: 'Switch',
    about: 'Switches something on or off, and says when the device did it.',
    picture: 'M16 8h16a8 8 0 0 1 0 16H16a8 8 0 0 1 0-16zM32 11a5 5 0 1 0 .1 0',
    size: { w: 3, h: 2 },
    start: begin<'switch'>({ of: none, path: 'on' }),
  },
  slider: {
    title: 'Slider',
    about: 'Sets a number between two ends.',
    picture: 'M6 16h16M32 16h10M27 11a5 5 0 1 0 .1 0',
    size: { w: 4, h: 2 },
    start: begin<'slider'>({ of: none, path: 'brightness', min: 0, max: 100, step: 1 }),
  },
  button: {
    title: 'Button',
    about: 'Gives a command; it can ask before.',
    picture: 'M8 8h32v16H8zM18 16h12M26 12l4 4-4 4',
    size: { w: 3, h: 2 },
    start: begin<'button'>({ of: none, command: '', confirm: false }),
  },
  colour: {
    title: 'Colour',
    about: 'Chooses a colour, such as that of a lamp.',
    picture: 'M24 4c6 7 9 11 9 15a9 9 0 0 1-18 0c0-4 3-8 9-15zM19 20a5 5 0 0 0 5 5',
    size: { w: 3, h: 2 },
    start: begin<'colour'>({ of: none, path: 'colour' }),
  },
  input: {
    title: 'Text input',
    about: 'Sets a text or a number that is typed.',
    picture: 'M6 9h36v14H6zM11 13v6M16 19h8',
    size: { w: 4, h: 2 },
    start: begin<'input'>({ of: none, path: '', kind_of: 'text' }),
  },
  table: {
    title: 'Table of devices',
    about: 'The devices of a selector, with what you choose of each.',
    picture: 'M6 5h36v22H6zM6 12h36M6 19h36M20 5v22',
    size: { w: 6, h: 5 },
    start: begin<'table'>({ selector: '', columns: [{ presence: true }] }),
  },
  map: {
    title: 'Map',
    about: 'Where devices are, as far as they say it; works without internet.',
    picture: 'M24 28c-5-6-8-10-8-14a8 8 0 0 1 16 0c0 4-3 8-8 14zM24 11a3 3 0 1 0 .1 0',
    size: { w: 6, h: 5 },
    start: begin<'map'>({ selector: '' }),
  },
  image: {
    title: 'Image',
    about: 'A picture, such as a plan of the house.',
    picture: 'M6 5h36v22H6zM6 23l10-9 8 7 6-5 12 9M32 10a2 2 0 1 0 .1 0',
    size: { w: 4, h: 4 },
    start: begin<'image'>({ picture: '' }),
  },
  text: {
    title: 'Text',
    about: 'Headings, lists and links, written in Markdown.',
    picture: 'M8 7h20M8 13h32M8 19h32M8 25h14',
    size: { w: 4, h: 3 },
    start: begin<'text'>({ markdown: '' }),
  },
  alarms: {
    title: 'Alarms',
    about: 'What is wrong now, to be acknowledged.',
    picture: 'M24 4 8 28h32zM24 13v7M24 23.5v.1',
    size: { w: 4, h: 4 },
    start: begin<'alarms'>({}),
  },
  flow: {
    title: 'Flow',
    about: 'Whether a flow runs, and on how many devices.',
    picture: 'M6 6h14v8H6zM28 18h14v8H28zM13 14v4a4 4 0 0 0 4 4h11',
    size: { w: 3, h: 2 },
    start: begin<'flow'>({ flow: '' }),
  },
};

/** In groups, as one looks for them. */
export const GROUPS: [title: string, kinds: Kind[]][] = [
  ['Shows', ['value', 'gauge', 'chart', 'bar', 'timeline', 'table', 'map']],
  ['Controls', ['switch', 'slider', 'button', 'colour', 'input']],
  ['Says', ['text', 'image', 'alarms', 'flow']],
];

export function kindOf(kind: Kind): KindInfo {
  return KINDS[kind];
}

/** A kind that this page knows: a hub may be newer than the page in an open window. */
export function isKnown(kind: string): kind is Kind {
  return Object.hasOwn(KINDS, kind);
}
