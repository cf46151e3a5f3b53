//! Who may do what, so that a button that would be refused is not shown. The server decides; this only
//! mirrors it.
import type { Role } from '../api/contract';

const RANK: Record<Role, number> = { customer: -1, viewer: 0, manager: 1, engineer: 2, admin: 3 };

export const ROLES: { role: Role; sentence: string }[] = [
  { role: 'viewer', sentence: 'sees everything, changes nothing' },
  {
    role: 'manager',
    sentence:
      'sees everything, activates assigned scripts, and forces, cancels, retries or rolls back updates',
  },
  {
    role: 'engineer',
    sentence: 'registers devices, writes scripts and deploys them, and does what a manager does',
  },
  { role: 'admin', sentence: 'manages users and tokens, and does what an engineer does' },
];

/** Each role includes the ones below it. */
export function isAtLeast(role: Role, needed: Role): boolean {
  return RANK[role] >= RANK[needed];
}
