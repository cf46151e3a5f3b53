//! Gateways on other hosts in words, and the picture of which devices are behind which of them.
import type { Device, Gateway, PyaiotKey } from '../api/contract';
import type { Tone } from './state';

export type GatewayState = Gateway['state'];
export type Reach = Device['reach'];

const STATES: Record<GatewayState, { text: string; tone: Tone; sentence: string }> = {
  linked: { text: 'Linked', tone: 'ok', sentence: 'Its link to this hub lives.' },
  lost: {
    text: 'Lost',
    tone: 'bad',
    sentence: 'Its link is lost. It goes on serving its devices, keeps what they say, and tries again.',
  },
  new: { text: 'Never came', tone: 'idle', sentence: 'Start it with its join file.' },
  revoked: { text: 'Revoked', tone: 'warn', sentence: 'It has no key: make a new one to let it in again.' },
};

export function stateOf(gateway: Pick<Gateway, 'state'>): { text: string; tone: Tone; sentence: string } {
  return STATES[gateway.state];
}

/** A device in the picture. */
export type Leaf = { id: string; name: string; reach: Reach };
/** A way to devices: a gateway, or none for those that reach the hub themselves. */
export type Branch = {
  key: string;
  title: string;
  /** Below the title. */
  note: string;
  tone: Tone;
  /** Null where devices reach the hub without a gateway, and for gateways that have no page. */
  gateway: string | null;
  isDirect: boolean;
  /** Those that are shown one by one. */
  leaves: Leaf[];
  /** How many more there are, by how they are reached. */
  more: Record<Reach, number>;
};

/** More devices of one branch than these are dots; more than those are a number. */
export const NAMED_MAX = 6;
export const DOTS_MAX = 60;

const NONE: Record<Reach, number> = { online: 0, unreachable: 0, offline: 0 };
const ORDER: Reach[] = ['unreachable', 'online', 'offline'];

type Here = { gateways: Gateway[]; pyaiot: PyaiotKey[]; devices: Device[]; total: number };

/**
 * The picture. `devices` are all or the first of `total`; of a gateway with devices that are not among them it is known
 * only how many there are.
 */
export function branchesOf({ gateways, pyaiot, devices, total }: Here): Branch[] {
  const behind = new Map<string, Device[]>();
  for (const device of devices) {
    const way = device.gateway ?? '';
    behind.set(way, [...(behind.get(way) ?? []), device]);
  }
  const isWhole = devices.length >= total;
  const ofGateways = gateways.map((gateway): Branch => {
    const found = behind.get(gateway.id) ?? [];
    const { leaves, more } = shown(found);
    const rest = { ...more };
    if (!isWhole) {
      // What is not among the devices that were loaded.
      const counted = countsOf(found);
      rest.online += Math.max(0, gateway.devices_online - counted.online);
      rest.unreachable += Math.max(0, gateway.devices_unreachable - counted.unreachable);
    }
    const { text, tone } = stateOf(gateway);
    return {
      key: gateway.id,
      title: gateway.name,
      note: gateway.link === null ? text : `${gateway.link.serves}, ${gateway.link.round_trip_ms} ms`,
      tone,
      gateway: gateway.id,
      isDirect: false,
      leaves,
      more: rest,
    };
  });
  const ofPyaiot = pyaiot.flatMap((key) =>
    key.gateways.map((gateway, index): Branch => ({
      key: `${key.id} ${index}`,
      title: gateway.address,
      note: `Pyaiot, key ${key.name}`,
      tone: gateway.listens ? 'ok' : 'bad',
      gateway: null,
      isDirect: false,
      leaves: [],
      more: { ...NONE, online: gateway.devices },
    })),
  );
  const elsewhere = [...ofGateways, ...ofPyaiot];
  const direct = shown(behind.get('') ?? []);
  const counted = elsewhere.reduce((sum, branch) => sum + sizeOfBranch(branch), 0);
  const known = sizeOfBranch({ ...direct });
  const rest = isWhole ? 0 : Math.max(0, total - counted - known);
  const isEmpty = known + rest === 0;
  if (isEmpty) return elsewhere;
  const note = elsewhere.length === 0 ? 'every device' : 'without a gateway';
  return [
    {
      key: 'direct',
      title: 'Directly',
      note,
      tone: 'ok',
      gateway: null,
      isDirect: true,
      leaves: direct.leaves,
      more: { ...direct.more, offline: direct.more.offline + rest },
    },
    ...elsewhere,
  ];
}

export function sizeOfBranch({ leaves, more }: Pick<Branch, 'leaves' | 'more'>): number {
  return leaves.length + more.online + more.unreachable + more.offline;
}

/** «12 online, 3 unreachable» */
export function countText(counts: Record<Reach, number>): string {
  return (['online', 'unreachable', 'offline'] as const)
    .filter((reach) => counts[reach] > 0)
    .map((reach) => `${counts[reach]} ${reach}`)
    .join(', ');
}

export function countsOf(devices: { reach: Reach }[]): Record<Reach, number> {
  const counts = { ...NONE };
  for (const { reach } of devices) counts[reach] += 1;
  return counts;
}

/** Few one by one, those that need a look first; many as how many there are. */
function shown(devices: Device[]): Pick<Branch, 'leaves' | 'more'> {
  if (devices.length > DOTS_MAX) return { leaves: [], more: countsOf(devices) };
  const leaves = devices
    .map(({ id, name, reach }) => ({ id, name, reach }))
    .sort((a, b) => ORDER.indexOf(a.reach) - ORDER.indexOf(b.reach) || a.name.localeCompare(b.name));
  return { leaves, more: { ...NONE } };
}

/** `text` is the name as far as there is room for it; empty where dots have no names. */
type Dot = { leaf: Leaf; x: number; y: number; text: string };

/** Where everything of the picture is, for a width in pixels. */
export type Layout = {
  height: number;
  hub: { x: number; y: number };
  rows: {
    branch: Branch;
    x: number;
    y: number;
    left: number;
    dots: Dot[];
  }[];
};

const [ROW, LINE, GAP, DOT, LETTER] = [62, 24, 18, 18, 7.2];

export function layoutOf(branches: Branch[], width: number): Layout {
  const isNarrow = width < 520;
  const [hubX, gatewayX] = isNarrow ? [28, 104] : [60, width * 0.34];
  const left = isNarrow ? 190 : gatewayX + 130;
  const perLine = Math.max(1, Math.floor((width - left - 10) / DOT));
  let top = GAP;
  const rows = branches.map((branch) => {
    const { leaves } = branch;
    const isNamed = leaves.length <= NAMED_MAX;
    const lines = isNamed ? leaves.length : Math.ceil(leaves.length / perLine);
    const inside = lines * (isNamed ? LINE : DOT);
    const height = Math.max(ROW, inside);
    const first = top + (height - inside) / 2 + (isNamed ? LINE : DOT) / 2;
    const dots = leaves.map((leaf, index) => ({
      leaf,
      x: left + (isNamed ? 0 : (index % perLine) * DOT),
      y: first + (isNamed ? index * LINE : Math.floor(index / perLine) * DOT),
      text: isNamed ? nameOf(leaf, Math.floor((width - left - DOT) / LETTER), isNarrow) : '',
    }));
    const row = { branch, x: gatewayX, y: top + height / 2, left, dots };
    top += height + GAP;
    return row;
  });
  const ends = [rows[0]?.y ?? ROW / 2, rows.at(-1)?.y ?? ROW / 2];
  return { height: Math.max(top, ROW), hub: { x: hubX, y: ((ends[0] ?? 0) + (ends[1] ?? 0)) / 2 }, rows };
}

/** With how it is reached where there is room for that; the dot says it too. */
function nameOf({ name, reach }: Leaf, letters: number, isNarrow: boolean): string {
  const text = reach === 'online' || isNarrow ? name : `${name} · ${reach}`;
  return text.length <= letters ? text : `${text.slice(0, Math.max(1, letters - 1))}…`;
}
