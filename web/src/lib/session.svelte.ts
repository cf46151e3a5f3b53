//! Who is using the dashboard: the caller as the server sees it, and what that role may do.
import { session as calls } from './api/calls';
import { asProblem, listenForRefusals, setCsrf } from './api/client';
import type { Me, Problem, Role } from './api/contract';
import { isAtLeast } from './domain/access';
import { connectLive, disconnectLive } from './live';

export type Door =
  | { kind: 'loading' }
  | { kind: 'unreachable'; problem: Problem }
  | { kind: 'setup' }
  | { kind: 'login'; expired: boolean }
  | { kind: 'password' }
  | { kind: 'in' };

let me = $state.raw<Me | null>(null);
let door = $state.raw<Door>({ kind: 'loading' });

export function currentDoor(): Door {
  return door;
}

export function caller(): Me | null {
  return me;
}

export function may(needed: Role): boolean {
  return me !== null && isAtLeast(me.role, needed);
}

/** Takes a caller in: after login, set-up, or at the start when the cookie is still good. */
export function enter(caller: Me): void {
  // Customers have an app of their own.
  if (caller.role === 'customer') return location.replace('/app/');
  me = caller;
  setCsrf(caller.csrf);
  if (caller.must_change_password) {
    door = { kind: 'password' };
    return;
  }
  door = { kind: 'in' };
  connectLive(caller.seq ?? null);
}

export function leave(expired: boolean): void {
  me = null;
  setCsrf('');
  disconnectLive();
  door = { kind: 'login', expired };
}

/** Asks the server who this is: at the start, and after a deed that gave this browser a new session. */
export async function start(): Promise<void> {
  try {
    enter(await calls.me());
  } catch (error) {
    await standOutside(asProblem(error));
  }
}

async function standOutside(problem: Problem): Promise<void> {
  if (problem.status === 0 || problem.status >= 500) {
    door = { kind: 'unreachable', problem };
    return;
  }
  try {
    const { needed } = await calls.setupNeeded();
    door = needed ? { kind: 'setup' } : { kind: 'login', expired: false };
  } catch (error) {
    door = { kind: 'unreachable', problem: asProblem(error) };
  }
}

export async function logOut(everywhere: boolean): Promise<void> {
  await (everywhere ? calls.logoutEverywhere() : calls.logout());
  leave(false);
}

listenForRefusals((problem) => {
  if (door.kind !== 'in' && door.kind !== 'password') return;
  if (problem.code === 'unauthenticated') leave(true);
  if (problem.code === 'password_change_required') door = { kind: 'password' };
});
