//! The shapes of the HTTP API as the dashboard uses them. They follow docs/openapi.json; where that file is generated
//! into schema.d.ts, these names may become aliases of it without any page noticing.

export type Role = 'admin' | 'engineer' | 'manager' | 'viewer';

export type Me = {
  name: string;
  role: Role;
  kind: 'user' | 'token';
  must_change_password: boolean;
  csrf: string;
};

export type Problem = {
  title: string;
  status: number;
  code: string;
  detail: string;
  field?: string;
  line?: number;
  /** Seconds, from the Retry-After header. */
  retry_after?: number;
};

export type List<T> = { items: T[]; total: number };

export type User = {
  id: string;
  name: string;
  role: Role;
  disabled: boolean;
  created_at: string;
  last_login_at: string | null;
  must_change_password: boolean;
};

export type Token = {
  id: string;
  name: string;
  role: Role;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
};

export type Dialect = 'nodemcu' | 'native';
export type TaskState =
  | 'Waiting' | 'Offered' | 'Fetching' | 'Applying' | 'Done' | 'Failed' | 'TimedOut' | 'RolledBack' | 'Cancelled';
export type DeploymentState = 'Running' | 'Done' | 'Failed' | 'Cancelled' | 'RolledBack';
export type DeviceState = 'ok' | 'pending' | 'failing' | 'waiting_for_script';

export type ScriptRef = { script: string; name: string; version: number };
export type PendingRef = ScriptRef & { deployment: string; task_state: TaskState };

export type Device = {
  id: string;
  name: string;
  description: string;
  dialect: Dialect;
  external_id: string | null;
  tags: string[];
  online: boolean;
  last_seen: string | null;
  address: string | null;
  has_credential: boolean;
  unauthenticated_allowed: boolean;
  state: DeviceState;
  problem: string | null;
  active: ScriptRef | null;
  running: ScriptRef | null;
  pending: PendingRef | null;
  created_at: string;
  revision: number;
};

export type NewDevice = {
  name: string;
  dialect: Dialect;
  external_id?: string;
  description?: string;
  tags?: string[];
};

export type DeviceEdit = Partial<
  Pick<Device, 'name' | 'description' | 'tags' | 'external_id' | 'unauthenticated_allowed' | 'revision'>
>;

export type Metric = { metric: string; time: number; value: unknown; kind: 'number' | 'boolean' | 'text' | 'json' };
export type Point = { metric: string; time: number; arrived: number; value: unknown };
export type AssignedScript = { script: string; name: string; latest_version: number; active: boolean };

export type Script = {
  id: string;
  number: number;
  name: string;
  description: string;
  category: string;
  language: 'lua';
  latest_version: number;
  created_at: string;
  updated_at: string;
  devices: number;
};

export type Syntax = { ok: true } | { ok: false; line: number; message: string };

export type Version = {
  version: number;
  author: string;
  created_at: string;
  digest: string;
  size_bytes: number;
  comment: string;
  syntax: Syntax;
};

export type VersionWithSource = Version & { source: string };
export type DiffLine = { op: ' ' | '+' | '-'; old: number | null; new: number | null; text: string };

export type Task = {
  deployment: string;
  device: string;
  device_name: string;
  state: TaskState;
  reason: string | null;
  script: string;
  script_name: string;
  version: number;
  previous: ScriptRef | null;
  created_at: string;
  updated_at: string;
};

export type Counts = Record<TaskState, number>;

export type Deployment = {
  id: string;
  script: string | null;
  script_name: string | null;
  version: number | null;
  cause: 'asked' | 'rollback' | 'recovery';
  of: string | null;
  selector: string | null;
  state: DeploymentState;
  created_at: string;
  created_by: string;
  ended_at: string | null;
  health_window_seconds: number;
  counts: Counts;
  total: number;
};

/** Which devices: a selector or a list of device ids. */
export type Target = { selector: string } | { devices: string[] };

export type Grant = {
  id: string;
  device: string | null;
  tag: string | null;
  filter: string;
  publish: boolean;
  subscribe: boolean;
};

export type Change = {
  seq: number;
  time: string;
  actor: { kind: 'user' | 'token' | 'device' | 'system'; name: string };
  kind: string;
  noun: string;
  subject: string;
  subject_name: string;
  device?: string | null;
  before?: unknown;
  after?: unknown;
};

export type ChangePage = { items: Change[]; more: boolean };

export type Overview = {
  devices: {
    total: number;
    online: number;
    offline: number;
    failing: number;
    pending: number;
    unauthenticated: number;
  };
  deployments: { running: number };
  points_per_minute: number;
  activity: Change[];
};

export type System = {
  version: string;
  started_at: string;
  weaknesses: { code: string; sentence: string }[];
  support_until: string;
  /** Where devices reach MQTT, if the hub says so. */
  mqtt_port?: number;
};
