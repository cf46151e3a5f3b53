//! What can be read of a device or a group: the metrics it has measured, the names in its shadow. Of a group, those of
//! its first device.
import { devices, metrics, shadows } from '../../../lib/api/calls';
import type { Of } from '../../../lib/domain/dashboard';

const MOST = 500;
const DEPTH_MAX = 6;

export async function metricsOf(of: Of): Promise<string[]> {
  const device = await firstOf(of);
  if (device === null) return (await metrics.list({ limit: MOST })).items.map((one) => one.name);
  return (await devices.metrics(device)).items.map((one) => one.metric);
}

export async function pathsOf(of: Of): Promise<string[]> {
  const device = await firstOf(of);
  if (device === null) return [];
  const { state } = await shadows.get(device, null);
  return [...new Set([...paths(state.reported), ...paths(state.desired)])].sort();
}

async function firstOf(of: Of): Promise<string | null> {
  if ('device' in of) return of.device === '' ? null : of.device;
  if (of.selector.trim() === '') return null;
  return (await devices.list({ selector: of.selector, limit: 1 })).items[0]?.id ?? null;
}

function paths(tree: unknown, before = '', depth = DEPTH_MAX): string[] {
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree) || depth === 0) return [];
  return Object.entries(tree).flatMap(([name, value]) => {
    const path = before === '' ? name : `${before}.${name}`;
    const inner = paths(value, path, depth - 1);
    return inner.length > 0 ? inner : [path];
  });
}
