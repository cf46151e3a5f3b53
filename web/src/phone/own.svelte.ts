//! Who uses the phone app and what is shared with this person: the list as the hub last said it, kept in this
//! browser so that it is there without network too, and the live link that keeps it fresh.
import { asProblem, listenForRefusals, setCsrf } from '../lib/api/client';
import type { Me, Problem, SecretCode, SharedDevice } from '../lib/api/contract';
import { pathAfter, waitBefore, type TelemetryFrame } from '../lib/domain/resume';
import { openLink, type Link } from '../lib/link';
import { devices as calls, session } from './calls';
import { byName, wanting } from './device';

export type Door = 'loading' | 'outside' | 'password' | 'staff' | 'in';
type Kept = { name: string; devices: SharedDevice[]; at: number };

const KEPT = 'motehub.app.kept';

let door = $state<Door>('loading');
let me = $state.raw<Me | null>(null);
let name = $state('');
let devices = $state.raw<SharedDevice[]>([]);
/** When the list was last known to be right. */
let freshAt = $state<number | null>(null);
let link: Link | null = null;
/** How often the hub was called in vain since it last answered. */
let attempt = $state(0);
let timer: ReturnType<typeof setTimeout> | undefined;
/** For whoever has the device next that was given back; it is shown only once. */
let handedOn = $state.raw<SecretCode | null>(null);
const watchers = new Map<string, (points: TelemetryFrame[string]) => void>();

export const currentDoor = (): Door => door;
export const whose = (): string => name;
export const mustChangePassword = (): boolean => me?.must_change_password ?? false;
export const allDevices = (): SharedDevice[] => devices;
export const deviceOf = (id: string): SharedDevice | undefined => devices.find((device) => device.id === id);
/** The hub is not there: what is shown is as it was at `lastFresh`. */
export const isOffline = (): boolean => door === 'in' && attempt > 0;
export const lastFresh = (): number | null => freshAt;

/** At the start: the cookie may still be good, or there may be no network. */
export async function start(): Promise<void> {
  try {
    enter(await session.me());
  } catch (error) {
    const problem = asProblem(error);
    if (problem.status !== 0 && problem.status < 500) return outside();
    const kept = read();
    if (kept === null) return outside();
    name = kept.name;
    devices = kept.devices;
    freshAt = kept.at;
    door = 'in';
    reconnectLater();
  }
}

export function enter(caller: Me): void {
  me = caller;
  name = caller.name;
  setCsrf(caller.csrf);
  if (caller.role !== 'customer') door = 'staff';
  else if (caller.must_change_password) door = 'password';
  else {
    door = 'in';
    open();
  }
}

export async function leave(): Promise<void> {
  await session.logout();
  outside();
}

/** Shows at once what is wanted; if the hub refuses, what it says counts. */
export async function want(device: SharedDevice, what: string, on: boolean): Promise<Problem | null> {
  put(wanting(device, what, on));
  try {
    await calls.want(device.id, { [what]: on });
    return null;
  } catch (error) {
    await refresh().catch(() => undefined);
    return asProblem(error);
  }
}

/** Gives a device back. It is gone at once; its new code stays until it was seen. */
export async function release(device: string): Promise<void> {
  handedOn = await calls.release(device);
  devices = devices.filter((other) => other.id !== device);
  keep();
}

export const codeToHandOn = (): SecretCode | null => handedOn;
export const codeSeen = (): void => void (handedOn = null);

export async function refresh(): Promise<void> {
  devices = byName((await calls.list()).items);
  keep();
}

export function put(device: SharedDevice): void {
  devices = byName([...devices.filter((other) => other.id !== device.id), device]);
}

/** Hears the measurements of a device until the returned function is called. */
export function watch(device: string, heard: (points: TelemetryFrame[string]) => void): () => void {
  watchers.set(device, heard);
  sayWatch();
  return () => {
    watchers.delete(device);
    sayWatch();
  };
}

function outside(): void {
  clearTimeout(timer);
  link?.close();
  link = null;
  attempt = 0;
  me = null;
  devices = [];
  setCsrf('');
  localStorage.removeItem(KEPT);
  door = 'outside';
}

function open(): void {
  clearTimeout(timer);
  link = openLink(pathAfter(null), {
    ontext: (text) => receive(JSON.parse(text) as Frame),
    onlost: reconnectLater,
  });
}

type Frame = { hello?: object; devices?: SharedDevice[]; gone?: string[]; telemetry?: TelemetryFrame };

function receive(frame: Frame): void {
  if (frame.hello) {
    attempt = 0;
    sayWatch();
    refresh().catch(giveUp);
  }
  for (const device of frame.devices ?? []) put(device);
  if (frame.gone) devices = devices.filter((device) => !frame.gone?.includes(device.id));
  if (frame.devices || frame.gone) keep();
  for (const [device, points] of Object.entries(frame.telemetry ?? {})) watchers.get(device)?.(points);
}

function giveUp(): void {
  if (link === null) return;
  link.close();
  reconnectLater();
}

function reconnectLater(): void {
  link = null;
  if (door !== 'in') return;
  timer = setTimeout(() => void comeBack(), waitBefore(attempt, Math.random()));
  attempt += 1;
}

/** A login may have ended meanwhile; only a request tells. */
async function comeBack(): Promise<void> {
  clearTimeout(timer);
  if (door !== 'in' || link !== null) return;
  try {
    enter(await session.me());
  } catch (error) {
    const { status } = asProblem(error);
    if (status === 401 || status === 403) outside();
    else reconnectLater();
  }
}

function sayWatch(): void {
  link?.say(JSON.stringify({ watch: [...watchers.keys()] }));
}

function keep(): void {
  freshAt = Date.now();
  const kept: Kept = { name, devices, at: freshAt };
  try {
    localStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    // Storage is switched off or full: without network there is no list then.
  }
}

function read(): Kept | null {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? 'null') as Kept | null;
  } catch {
    return null;
  }
}

listenForRefusals((problem) => {
  if (problem.code === 'unauthenticated' && door === 'in') outside();
  if (problem.code === 'password_change_required') door = 'password';
});
addEventListener('online', () => void comeBack());
addEventListener('offline', giveUp);
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void comeBack();
});
