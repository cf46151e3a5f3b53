//! Every page, its address and who may see it. A page is loaded when it is first visited. New pages are one
//! folder and one line.
import type { Component } from 'svelte';
import type { Role } from '../lib/api/contract';
import { match } from '../lib/router.svelte';

export type PageProps = { id: string };
type Load = () => Promise<{ default: Component<PageProps> | Component }>;

const PAGES: [pattern: string, role: Role, load: Load][] = [
  ['/', 'viewer', () => import('./overview/Page.svelte')],
  ['/devices', 'viewer', () => import('./devices/Page.svelte')],
  ['/inbox', 'viewer', () => import('./inbox/Page.svelte')],
  ['/map', 'viewer', () => import('./map/Page.svelte')],
  ['/groups', 'viewer', () => import('./groups/Page.svelte')],
  ['/capabilities', 'viewer', () => import('./capabilities/Page.svelte')],
  ['/devices/:id', 'viewer', () => import('./device/Page.svelte')],
  ['/dashboards', 'viewer', () => import('./dashboards/Page.svelte')],
  ['/dashboards/:id', 'viewer', () => import('./dashboard/Page.svelte')],
  ['/telemetry', 'viewer', () => import('./telemetry/Page.svelte')],
  ['/telemetry/metrics', 'viewer', () => import('./metrics/Page.svelte')],
  ['/scripts', 'viewer', () => import('./scripts/Page.svelte')],
  ['/scripts/new', 'engineer', () => import('./script/New.svelte')],
  ['/scripts/:id', 'viewer', () => import('./script/Page.svelte')],
  ['/flows', 'viewer', () => import('./flows/Page.svelte')],
  ['/flows/new', 'engineer', () => import('./flow/New.svelte')],
  ['/flows/:id', 'viewer', () => import('./flow/Page.svelte')],
  ['/rules', 'viewer', () => import('./rules/Page.svelte')],
  ['/rules/new', 'engineer', () => import('./rule/Page.svelte')],
  ['/rules/:id', 'viewer', () => import('./rule/Page.svelte')],
  ['/alarms', 'viewer', () => import('./alarms/Page.svelte')],
  ['/firmware', 'viewer', () => import('./firmware/Page.svelte')],
  ['/firmware/:id', 'viewer', () => import('./firmware/One.svelte')],
  ['/deployments', 'viewer', () => import('./deployments/Page.svelte')],
  ['/deployments/:id', 'viewer', () => import('./deployment/Page.svelte')],
  ['/commands', 'viewer', () => import('./commands/Page.svelte')],
  ['/commands/:id', 'viewer', () => import('./command/Page.svelte')],
  ['/activity', 'viewer', () => import('./activity/Page.svelte')],
  ['/usage', 'viewer', () => import('./usage/Page.svelte')],
  ['/customers', 'engineer', () => import('./customers/Page.svelte')],
  ['/users', 'admin', () => import('./users/Page.svelte')],
  ['/tokens', 'admin', () => import('./tokens/Page.svelte')],
  ['/nodes', 'viewer', () => import('./nodes/Page.svelte')],
  ['/gateways', 'viewer', () => import('./gateways/Page.svelte')],
  ['/connections', 'engineer', () => import('./connections/Page.svelte')],
  ['/grants', 'engineer', () => import('./grants/Page.svelte')],
  ['/webhooks', 'engineer', () => import('./webhooks/Page.svelte')],
  ['/webhooks/:id', 'engineer', () => import('./webhook/Page.svelte')],
  ['/account', 'viewer', () => import('./account/Page.svelte')],
];

export type Found = { role: Role; load: () => Promise<Component<PageProps>>; id: string };

export function pageAt(path: string): Found | null {
  for (const [pattern, role, load] of PAGES) {
    const params = match(pattern, path);
    if (params !== null) {
      return { role, id: params.id ?? '', load: async () => (await load()).default as Component<PageProps> };
    }
  }
  return null;
}
