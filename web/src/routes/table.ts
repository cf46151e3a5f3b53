//! Every page and its address. A page is loaded when it is first visited. New pages are one folder and one line.
import type { Component } from 'svelte';
import { match } from '../lib/router.svelte';

export type PageProps = { id: string };
type Load = () => Promise<{ default: Component<PageProps> | Component }>;

const PAGES: [pattern: string, load: Load][] = [
  ['/', () => import('./overview/Page.svelte')],
  ['/devices', () => import('./devices/Page.svelte')],
  ['/devices/:id', () => import('./device/Page.svelte')],
  ['/scripts', () => import('./scripts/Page.svelte')],
  ['/scripts/new', () => import('./script/New.svelte')],
  ['/scripts/:id', () => import('./script/Page.svelte')],
  ['/deployments', () => import('./deployments/Page.svelte')],
  ['/deployments/:id', () => import('./deployment/Page.svelte')],
  ['/activity', () => import('./activity/Page.svelte')],
  ['/users', () => import('./users/Page.svelte')],
  ['/tokens', () => import('./tokens/Page.svelte')],
  ['/grants', () => import('./grants/Page.svelte')],
  ['/account', () => import('./account/Page.svelte')],
];

export type Found = { pattern: string; load: () => Promise<Component<PageProps>>; id: string };

export function pageAt(path: string): Found | null {
  for (const [pattern, load] of PAGES) {
    const params = match(pattern, path);
    if (params !== null) {
      return { pattern, id: params.id ?? '', load: async () => (await load()).default as Component<PageProps> };
    }
  }
  return null;
}
