//! The calls of dashboards: those of a caller who is logged in, and those of a public link.
import type { Document } from '../domain/dashboard';
import { addressOf, get, listen, post, put, remove, type Listening, type Query } from './client';
import type {
  AlarmInfo,
  BlockData,
  BlockHistory,
  Dashboard,
  DashboardEntry,
  DashboardLink,
  List,
  NewDashboardLink,
  PublicDashboard,
} from './contract';

type Signal = AbortSignal | undefined;
type Blocks = { blocks: Record<string, BlockData> };

const id = encodeURIComponent;
const of = (dashboard: string, rest = ''): string => `/dashboards/${id(dashboard)}${rest}`;

export const dashboards = {
  list: (query: Query, signal?: Signal) => get<List<DashboardEntry>>('/dashboards', query, signal),
  get: (dashboard: string, signal?: Signal) => get<Dashboard>(of(dashboard), {}, signal),
  add: (document: Document, shared = false) => post<Dashboard>('/dashboards', { document, shared }),
  save: (dashboard: string, document: Document, shared: boolean, revision: number) =>
    put<Dashboard>(of(dashboard), { document, shared, revision }),
  delete: (dashboard: string) => remove(of(dashboard)),
  copy: (dashboard: string, name?: string) => post<Dashboard>(of(dashboard, '/copy'), { name }),
  exportAddress: (dashboard: string) => addressOf(of(dashboard, '/export')),
  preview: (document: Document, signal?: Signal) => post<Blocks>('/dashboards/preview', { document }, signal),
  data: (dashboard: string, signal?: Signal) => get<Blocks>(of(dashboard, '/data'), {}, signal),
  history: (dashboard: string, block: string, query: Query, signal?: Signal) =>
    get<BlockHistory>(of(dashboard, `/blocks/${id(block)}/history`), query, signal),
  act: (dashboard: string, block: string, value?: unknown) =>
    post<{ devices: number }>(
      of(dashboard, `/blocks/${id(block)}/act`),
      value === undefined ? {} : { value },
    ),
  live: (dashboard: string, listening: Listening) => listen(of(dashboard, '/live'), listening),
  links: (dashboard: string, signal?: Signal) =>
    get<List<DashboardLink>>(of(dashboard, '/links'), {}, signal),
  addLink: (dashboard: string, label: string, expires_in_s: number | null) =>
    post<NewDashboardLink>(of(dashboard, '/links'), { label, ...(expires_in_s ? { expires_in_s } : {}) }),
  withdraw: (dashboard: string, link: string) => remove(of(dashboard, `/links/${id(link)}`)),
};

/** What a public link shows. Nothing can be changed by it. */
export const published = {
  get: (secret: string, signal?: Signal) => get<PublicDashboard>('/public/dashboard', {}, signal, secret),
  data: (secret: string, signal?: Signal) => get<Blocks>('/public/data', {}, signal, secret),
  history: (secret: string, block: string, query: Query, signal?: Signal) =>
    get<BlockHistory>(`/public/blocks/${id(block)}/history`, query, signal, secret),
  live: (secret: string, listening: Listening) => listen('/public/live', { ...listening, bearer: secret }),
};

export const alarms = {
  acknowledge: (alarm: string) => post<AlarmInfo>(`/alarms/${id(alarm)}/acknowledge`),
};
