//! What a device has, and how each of it is shown: one table for all families. A name that is not in it is shown by
//! the kind of its value.
import type { Metric } from '../api/contract';
import type { Shadow, Tree } from './shadow';

export type Look =
  | 'reading'
  | 'text'
  | 'json'
  | 'switch'
  | 'pad'
  | 'stick'
  | 'motion'
  | 'place'
  | 'camera'
  | 'code'
  | 'update'
  /** Said of the device as a whole: one line in a list of them. */
  | 'fact'
  /** Shown by the card of another name. */
  | 'part';
type Entry = { title: string; look: Look; unit?: string };

const LOOKS: Record<string, Entry> = {
  led: { title: 'LED', look: 'switch' },
  robot: { title: 'Robot', look: 'pad' },
  ribot: { title: 'Joystick', look: 'stick' },
  imu: { title: 'Motion', look: 'motion' },
  js: { title: 'Program', look: 'code' },
  webcam: { title: 'Camera', look: 'camera' },
  suit_state: { title: 'Firmware update', look: 'update' },
  dwnld: { title: 'Downloaded', look: 'part', unit: '%' },
  position: { title: 'Position', look: 'place' },
  temperature: { title: 'Temperature', look: 'reading', unit: '°C' },
  pressure: { title: 'Pressure', look: 'reading', unit: 'hPa' },
  humidity: { title: 'Humidity', look: 'reading', unit: '%' },
  eco2: { title: 'CO₂ equivalent', look: 'reading', unit: 'ppm' },
  tvoc: { title: 'Organic compounds', look: 'reading', unit: 'ppb' },
  illuminance: { title: 'Illuminance', look: 'reading', unit: 'lx' },
  uvindex: { title: 'UV index', look: 'reading' },
  tsp: { title: 'Small particles', look: 'reading', unit: 'g/m³' },
  tlp: { title: 'Large particles', look: 'reading', unit: 'g/m³' },
  text: { title: 'Text', look: 'text' },
  twitter: { title: 'Message', look: 'text' },
  name: { title: 'Calls itself', look: 'fact' },
  board: { title: 'Board', look: 'fact' },
  mcu: { title: 'Microcontroller', look: 'fact' },
  os: { title: 'System', look: 'fact' },
  vendor: { title: 'Vendor', look: 'fact' },
  version: { title: 'Version', look: 'fact' },
  ip: { title: 'Own address', look: 'fact' },
  protocol: { title: 'Protocol', look: 'fact' },
  id: { title: 'Own id', look: 'fact' },
  node: { title: 'Node', look: 'fact' },
};
/** What is done once, when somebody asks for it, and so can be asked of a device that only says that it can. */
const DEEDS: Look[] = ['pad', 'stick', 'code'];
/** What stands first is what somebody came for. */
const ORDER: Look[] = [
  'update',
  'switch',
  'pad',
  'stick',
  'reading',
  'motion',
  'camera',
  'place',
  'text',
  'json',
  'code',
  'fact',
];

export type Known = {
  /** Its main shadow. */
  shadow: Shadow | null;
  metrics: Metric[];
  /** What it can do, assigned or announced. */
  capabilities: string[];
  /** Its shadow is a list of its resources, so each of them is worth a card, also one that is not in the table. */
  isOfResources: boolean;
};
export type Shown = {
  name: string;
  title: string;
  look: Look;
  unit: string | undefined;
  /** What it says; undefined if it said nothing yet. */
  value: unknown;
  /** What is wanted of it; undefined if nothing is. */
  desired: unknown;
  /** It is wanted and not reported. */
  isPending: boolean;
  /** When it was said, in milliseconds since 1970. */
  at: number | undefined;
};

/** What a device shows, in the order of its cards. */
export function looksOf({ shadow, metrics, capabilities, isOfResources }: Known): Shown[] {
  const { desired = {}, reported = {}, delta = {} } = shadow?.state ?? {};
  const measured = new Map(metrics.map((metric) => [metric.metric, metric]));
  const told = new Set([...Object.keys(reported), ...Object.keys(desired)]);
  const names = new Set([...told, ...measured.keys(), ...capabilities]);
  const looks = [...names].flatMap((name): Shown[] => {
    const entry = entryOf(name);
    const metric = measured.get(name);
    const value = own(reported, name) ?? metric?.value;
    const isKnown = entry !== undefined || (isOfResources && told.has(name));
    const look = entry?.look ?? lookOf(value ?? own(desired, name));
    const isThere = told.has(name) || metric !== undefined || DEEDS.includes(look);
    // What is only measured has its chart and its line among the latest values.
    const isOnlyMeasured = !isOfResources && !told.has(name) && look === 'reading';
    if (!isKnown || !isThere || isOnlyMeasured || look === 'part') return [];
    return [
      {
        name,
        title: entry?.title ?? name,
        look,
        unit: entry?.unit,
        value,
        desired: own(desired, name),
        isPending: own(delta, name) !== undefined,
        at: timeOf(own(shadow?.metadata.reported ?? {}, name), metric),
      },
    ];
  });
  return looks.sort(
    (a, b) => ORDER.indexOf(a.look) - ORDER.indexOf(b.look) || a.title.localeCompare(b.title),
  );
}

/** The unit that a metric has by its name, if nobody said another. */
export function unitOf(name: string): string | undefined {
  return entryOf(name)?.unit;
}

function entryOf(name: string): Entry | undefined {
  return Object.hasOwn(LOOKS, name) ? LOOKS[name] : undefined;
}

/** A device may name its resources as it likes, also like what every object has. */
function own(tree: Tree, name: string): unknown {
  return Object.hasOwn(tree, name) ? tree[name] : undefined;
}

/** How a value of a name that is not in the table is shown. */
function lookOf(value: unknown): Look {
  if (typeof value === 'number') return 'reading';
  if (typeof value === 'boolean') return 'switch';
  return typeof value === 'string' || value === undefined ? 'text' : 'json';
}

/** Whether a value means on: nodes say it as 1, programs as true. */
export function isOn(value: unknown): boolean {
  return value === true || value === 1 || value === '1';
}

function timeOf(stamp: unknown, metric: Metric | undefined): number | undefined {
  if (metric !== undefined) return metric.time;
  const seconds = newest(stamp);
  return seconds === undefined ? undefined : seconds * 1000;
}

/** A tree of times as the newest of them. */
function newest(stamp: unknown): number | undefined {
  if (typeof stamp !== 'object' || stamp === null) return undefined;
  if ('timestamp' in stamp && typeof stamp.timestamp === 'number') return stamp.timestamp;
  const times = Object.values(stamp)
    .map(newest)
    .filter((time) => time !== undefined);
  return times.length > 0 ? Math.max(...times) : undefined;
}
