//! What a device does and is about to do, seen from a phone. Pure; a switch that waits is told from one that
//! is set.
import type { ShadowRevision, SharedDevice } from '../lib/api/contract';

export type Switch = {
  name: string;
  /** How it is shown: as it is wanted, else as the device says. */
  on: boolean;
  /** The device has not said so yet. */
  pending: boolean;
};

/** The switches of a device: what is true or false in its document, `on` first. */
export function switchesOf(device: SharedDevice): Switch[] {
  if (!device.shadow) return [];
  const { desired, reported } = device.shadow;
  const names = new Set([...Object.keys(desired), ...Object.keys(reported)]);
  const found: Switch[] = [];
  for (const name of names) {
    const [wanted, is] = [desired[name], reported[name]];
    const shown = typeof wanted === 'boolean' ? wanted : is;
    if (typeof shown !== 'boolean') continue;
    found.push({ name, on: shown, pending: typeof wanted === 'boolean' && wanted !== is });
  }
  return found.toSorted((a, b) => rank(a.name) - rank(b.name) || a.name.localeCompare(b.name));
}

const rank = (name: string): number => (name === 'on' ? 0 : 1);

/** The device as it will be when the wish has arrived at the hub. */
export function wanting(device: SharedDevice, name: string, on: boolean): SharedDevice {
  const shadow = device.shadow ?? { desired: {}, reported: {}, version: 0 };
  return { ...device, shadow: { ...shadow, desired: { ...shadow.desired, [name]: on } } };
}

export type Switched = { key: string; name: string; on: boolean; by: string; at: string };
type State = Pick<ShadowRevision, 'desired' | 'reported'>;

/** Who switched what and when, newest first: what people wanted, and what changed at the device without a wish. */
export function switchedIn(newestFirst: ShadowRevision[]): Switched[] {
  return newestFirst.flatMap((made, place) => {
    // What was before the oldest is not known: it is taken for a device that was as it was wanted.
    const before: State = newestFirst[place + 1] ?? { desired: made.reported, reported: made.reported };
    const names = new Set([...Object.keys(made.desired), ...Object.keys(made.reported)]);
    return [...names].flatMap((name) => {
      const on = switchedTo(name, before, made);
      return on === null
        ? []
        : [{ key: `${made.revision} ${name}`, name, on, by: byWhom(made), at: made.at }];
    });
  });
}

function switchedTo(name: string, before: State, made: State): boolean | null {
  const [wanted, is, was] = [made.desired[name], made.reported[name], before.reported[name]];
  if (typeof wanted === 'boolean' && wanted !== before.desired[name]) return wanted;
  // A report of what was wanted, now or a moment ago, is no news.
  const hadWish = typeof wanted === 'boolean' && (wanted === is || wanted !== was);
  return typeof is === 'boolean' && typeof was === 'boolean' && is !== was && !hadWish ? is : null;
}

function byWhom({ actor_kind, actor }: ShadowRevision): string {
  if (actor_kind === 'you') return 'you';
  if (actor_kind === 'vendor') return 'the vendor';
  if (actor_kind === 'device') return 'the device itself';
  if (actor_kind === 'system') return 'the hub';
  return actor || 'somebody else';
}

/** By name, as people sort; those that are there and those that are not stay side by side. */
export function byName(devices: SharedDevice[]): SharedDevice[] {
  return devices.toSorted((a, b) => a.name.localeCompare(b.name) || a.id.localeCompare(b.id));
}

/** What a code was typed or scanned as: the code alone, or the link of its QR code. */
export function codeIn(text: string): string {
  return (text.split('code=').at(-1) ?? '').trim();
}

export function mayControl(device: SharedDevice): boolean {
  return device.right !== 'view';
}
