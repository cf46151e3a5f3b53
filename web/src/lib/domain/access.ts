//! Who may do what, so that a button that would be refused is not shown. The server decides; this only mirrors it.
import type { Role } from '../api/contract';

const RANK: Record<Role, number> = { viewer: 0, manager: 1, engineer: 2, admin: 3 };

export const ROLES: { role: Role; sentence: string }[] = [
  { role: 'viewer', sentence: 'sees everything, changes nothing' },
  { role: 'manager', sentence: 'activates assigned scripts; forces, cancels, retries and rolls back updates' },
  { role: 'engineer', sentence: 'also registers devices, writes scripts and deploys them' },
  { role: 'admin', sentence: 'also manages users and tokens' },
];

/** Each role includes the ones below it. */
export function isAtLeast(role: Role, needed: Role): boolean {
  return RANK[role] >= RANK[needed];
}
