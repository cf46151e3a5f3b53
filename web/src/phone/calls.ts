//! Every call of the API that the phone app makes. Pages use these; parts never do.
import { get, patch, post, remove } from '../lib/api/client';
import type {
  History,
  InvitationInfo,
  Me,
  Metric,
  Right,
  SecretCode,
  ShadowRevision,
  ShareInfo,
  SharedDevice,
} from '../lib/api/contract';

type Items<T> = { items: T[] };
const id = encodeURIComponent;
const of = (device: string, rest = ''): string => `/devices/${id(device)}${rest}`;

export const session = {
  me: () => get<Me>('/me'),
  login: (name: string, password: string) => post<Me>('/login', { name, password }),
  signUp: (code: string, name: string, password: string) => post<Me>('/sign-up', { code, name, password }),
  logout: () => post<void>('/logout'),
  changePassword: (current: string, next: string) => post<void>('/me/password', { current, new: next }),
};

export const devices = {
  list: () => get<Items<SharedDevice>>('/devices', { limit: 1000 }),
  claim: (code: string) => post<{ device: SharedDevice }>('/claims', { code }),
  ask: (label: string) => post<{ press_within_seconds: number }>('/claims', { device: label }),
  release: (device: string) => remove<SecretCode>(of(device, '/claim')),
  leave: (device: string) => remove(of(device, '/share')),
  rename: (device: string, edit: { name?: string; name_shown?: boolean }) =>
    patch<SharedDevice>(of(device, '/share'), edit),
  want: (device: string, desired: Record<string, unknown>) =>
    patch<unknown>(of(device, '/shadow'), { state: { desired } }),
  switched: (device: string, limit: number) =>
    get<Items<ShadowRevision>>(of(device, '/shadow/history'), { limit }),
  metrics: (device: string) => get<Items<Metric>>(of(device, '/metrics')),
  history: (device: string, from: number, to: number, buckets: number) =>
    get<History>(of(device, '/telemetry'), { from, to, buckets }),
};

export const shares = {
  list: (device: string) => get<Items<ShareInfo>>(of(device, '/shares')),
  give: (device: string, user: string, right: Right, until: string | null) =>
    post<void>(of(device, '/shares'), { user, right, ...(until ? { until } : {}) }),
  revoke: (device: string, user: string) => remove(of(device, `/shares/${id(user)}`)),
  invitations: (device: string) => get<Items<InvitationInfo>>(of(device, '/invitations')),
  invite: (device: string, right: Right, until: string | null) =>
    post<SecretCode>(of(device, '/invitations'), { right, ...(until ? { until } : {}) }),
  withdraw: (device: string, invitation: string) => remove(of(device, `/invitations/${id(invitation)}`)),
};
