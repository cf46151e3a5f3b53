//! Every call of the API that the dashboard makes, by noun. Page modules use these; components never do.
import type { ScriptLanguage } from '../domain/language';
import type {
  Acceptance,
  Alarm,
  AssignedScript,
  BulkAction,
  BulkPreview,
  BulkProgress,
  Camera,
  Capability,
  Certificate,
  ConnectionList,
  Change,
  ChangePage,
  Command,
  Customer,
  Deployment,
  Device,
  Delivery,
  DeviceEdit,
  DiffLine,
  Execution,
  Firing,
  Firmware,
  FirmwareList,
  Flow,
  FlowImport,
  FlowProgram,
  FlowVersion,
  Gateway,
  GatewayEdit,
  Grant,
  History,
  ImportReport,
  InvitationInfo,
  Joining,
  KnockList,
  KnockState,
  Group,
  LogLine,
  MailState,
  NewWebhook,
  NodeList,
  Webhook,
  WebhookEdit,
  WebhookPing,
  WebhookSecret,
  List,
  IotBaseReport,
  MdashReport,
  Me,
  Metric,
  MetricEdit,
  MetricInfo,
  NewCertificate,
  NewDevice,
  NewGateway,
  NewGroup,
  NewToken,
  Overview,
  Replay,
  Rule,
  RuleDocument,
  Placement,
  PlacementChange,
  Point,
  Position,
  Reach,
  Retention,
  Role,
  Script,
  SecretCode,
  SelectorWords,
  ShadowRevision,
  ShareInfo,
  Syntax,
  System,
  Target,
  Task,
  NewPusherApp,
  NewPyaiotKey,
  PusherAppCreated,
  PusherAppList,
  PyaiotKey,
  Token,
  UsageDay,
  User,
  Version,
  VersionWithSource,
} from './contract';
import type { Graph } from '../domain/flow';
import type { Shadow } from '../domain/shadow';
import {
  addressOf,
  get,
  getData,
  patch,
  post,
  postForm,
  postLines,
  postText,
  put,
  remove,
  type Query,
} from './client';

type Signal = AbortSignal | undefined;
type Page = { offset?: number; limit?: number };
type Items<T> = { items: T[] };

const id = encodeURIComponent;

export const session = {
  setupNeeded: () => get<{ needed: boolean }>('/setup'),
  setup: (code: string, name: string, password: string) => post<Me>('/setup', { code, name, password }),
  me: () => get<Me>('/me'),
  login: (name: string, password: string) => post<Me>('/login', { name, password }),
  logout: () => post<void>('/logout'),
  logoutEverywhere: () => post<void>('/logout-everywhere'),
  changePassword: (current: string, next: string) => post<void>('/me/password', { current, new: next }),
};

export const users = {
  list: (signal?: Signal) => get<List<User>>('/users', { limit: 1000 }, signal),
  add: (name: string, role: Role) => post<{ id: string; password: string }>('/users', { name, role }),
  edit: (user: string, edit: { role?: Role; disabled?: boolean }) => patch<User>(`/users/${id(user)}`, edit),
  resetPassword: (user: string) => post<{ password: string }>(`/users/${id(user)}/password`),
  delete: (user: string) => remove(`/users/${id(user)}`),
};

export const tokens = {
  list: (signal?: Signal) => get<List<Token>>('/tokens', { limit: 1000 }, signal),
  add: (name: string, role: Role, expiresAt: string | null, accessKey: boolean) =>
    post<NewToken>('/tokens', {
      name,
      role,
      access_key: accessKey,
      ...(expiresAt ? { expires_at: expiresAt } : {}),
    }),
  delete: (token: string) => remove(`/tokens/${id(token)}`),
};

export const pusherApps = {
  list: (signal?: Signal) => get<PusherAppList>('/pusher-apps', {}, signal),
  add: (app: NewPusherApp) => post<PusherAppCreated>('/pusher-apps', app),
  delete: (app: string) => remove(`/pusher-apps/${id(app)}`),
};

export const pyaiotKeys = {
  list: (signal?: Signal) => get<List<PyaiotKey>>('/pyaiot-keys', {}, signal),
  add: (key: NewPyaiotKey) => post<{ id: string; file: string | null }>('/pyaiot-keys', key),
  delete: (key: string) => remove(`/pyaiot-keys/${id(key)}`),
};

export const devices = {
  list: (query: Query, signal?: Signal) => get<List<Device>>('/devices', query, signal),
  get: (device: string, signal?: Signal) => get<Device>(`/devices/${id(device)}`, {}, signal),
  register: (device: NewDevice) => post<Device & { credential: string }>('/devices', device),
  previewImport: (table: Blob) => postText<ImportReport>('/devices/import', { dry_run: true }, table),
  import: (table: Blob, skipWrong: boolean) =>
    postText<ImportReport>('/devices/import', skipWrong ? { on_error: 'skip' } : {}, table),
  previewMdash: (file: Blob) =>
    postText<MdashReport>('/import/mdash', { dry_run: true }, file, 'application/json'),
  importMdash: (file: Blob, skipWrong: boolean) =>
    postText<MdashReport>('/import/mdash', skipWrong ? { on_error: 'skip' } : {}, file, 'application/json'),
  previewIotBase: (file: Blob) =>
    postText<IotBaseReport>('/import/iot-base', { dry_run: true }, file, 'text/plain'),
  importIotBase: (file: Blob, skipWrong: boolean) =>
    postText<IotBaseReport>('/import/iot-base', skipWrong ? { on_error: 'skip' } : {}, file, 'text/plain'),
  edit: (device: string, edit: DeviceEdit) => patch<Device>(`/devices/${id(device)}`, edit),
  delete: (device: string) => remove(`/devices/${id(device)}`),
  rotate: (device: string) => post<{ credential: string }>(`/devices/${id(device)}/credential`),
  rotateOverTheAir: (device: string) => post<Device>(`/devices/${id(device)}/credential/rotate`),
  revoke: (device: string) => remove(`/devices/${id(device)}/credential`),
  coapKey: (device: string) => get<{ identity: string; key: string }>(`/devices/${id(device)}/coap-key`, {}),
  metrics: (device: string, signal?: Signal) =>
    get<Items<Metric>>(`/devices/${id(device)}/metrics`, {}, signal),
  history: (device: string, query: Query & { buckets: number }, signal?: Signal) =>
    get<History>(`/devices/${id(device)}/telemetry`, query, signal),
  points: (device: string, query: Query, signal?: Signal) =>
    get<Items<Point>>(`/devices/${id(device)}/telemetry`, query, signal),
  log: (device: string, query: Query, signal?: Signal) =>
    get<Items<LogLine>>(`/devices/${id(device)}/log`, query, signal),
  liftQuarantine: (device: string, digest: string) =>
    remove(`/devices/${id(device)}/quarantine/${id(digest)}`),
  tasks: (device: string, signal?: Signal) => get<Items<Task>>(`/devices/${id(device)}/tasks`, {}, signal),
  scripts: (device: string, signal?: Signal) =>
    get<Items<AssignedScript>>(`/devices/${id(device)}/scripts`, {}, signal),
  assign: (device: string, script: string) => put<void>(`/devices/${id(device)}/scripts/${id(script)}`),
  unassign: (device: string, script: string) => remove(`/devices/${id(device)}/scripts/${id(script)}`),
  activate: (device: string, script: string, version?: number) =>
    post<{ id: string }>(`/devices/${id(device)}/activate`, { script, ...(version ? { version } : {}) }),
  force: (device: string) => post<{ id: string }>(`/devices/${id(device)}/force`),
  cancel: (device: string) => post<void>(`/devices/${id(device)}/cancel`),
  rollBack: (device: string) => post<{ id: string }>(`/devices/${id(device)}/rollback`),
  bulkPreview: (target: Target, action: BulkAction, signal?: Signal) =>
    post<BulkPreview>('/devices/bulk/preview', { ...target, action }, signal),
  bulk: (target: Target, action: BulkAction, token: string, tell: (line: BulkProgress) => void) =>
    postLines<BulkProgress>('/devices/bulk', { ...target, action, token }, tell),
};

export const certificates = {
  list: (device: string, signal?: Signal) =>
    get<Items<Certificate>>(`/devices/${id(device)}/certificates`, {}, signal),
  issue: (device: string, csr: string | null) =>
    post<NewCertificate>(`/devices/${id(device)}/certificate`, { csr }),
  revoke: (device: string, fingerprint: string) =>
    remove(`/devices/${id(device)}/certificates/${id(fingerprint)}`),
};

const shadowOf = (device: string, name: string | null, part = ''): string =>
  `/devices/${id(device)}/shadow${part}${name === null ? '' : `?name=${id(name)}`}`;
const named = (name: string | null): Query => (name === null ? {} : { name });

export const shadows = {
  list: (device: string, signal?: Signal) =>
    get<Items<{ name: string | null }>>(`/devices/${id(device)}/shadows`, {}, signal),
  get: (device: string, name: string | null, signal?: Signal) =>
    get<Shadow>(shadowOf(device, name), {}, signal),
  edit: (device: string, name: string | null, update: { state: { desired: unknown } }) =>
    patch<Shadow>(shadowOf(device, name), update),
  history: (device: string, name: string | null, limit: number, signal?: Signal) =>
    get<Items<ShadowRevision>>(`/devices/${id(device)}/shadow/history`, { ...named(name), limit }, signal),
  at: (device: string, name: string | null, time: string) =>
    get<ShadowRevision>(`/devices/${id(device)}/shadow/at`, { ...named(name), time }),
  restore: (device: string, name: string | null, revision: number) =>
    post<Shadow>(shadowOf(device, name, '/restore'), { revision }),
};

export const shares = {
  list: (device: string, signal?: Signal) =>
    get<Items<ShareInfo>>(`/devices/${id(device)}/shares`, {}, signal),
  revoke: (device: string, user: string) => remove(`/devices/${id(device)}/shares/${id(user)}`),
  claimCode: (device: string) => post<SecretCode>(`/devices/${id(device)}/claim-code`),
  release: (device: string) => remove<SecretCode>(`/devices/${id(device)}/claim`),
};

export const customers = {
  list: (query: Query, signal?: Signal) => get<List<Customer>>('/customers', query, signal),
};

export const invitations = {
  list: (signal?: Signal) => get<List<InvitationInfo>>('/invitations', {}, signal),
  invite: () => post<SecretCode>('/invitations', {}),
  withdraw: (invitation: string) => remove(`/invitations/${id(invitation)}`),
};

export const selectors = {
  words: (signal?: Signal) => get<SelectorWords>('/selectors/words', {}, signal),
};

export const alarms = {
  list: (
    query: { state?: string; device?: string; rule?: string; selector?: string } & Page,
    signal?: Signal,
  ) => get<List<Alarm>>('/alarms', query, signal),
  acknowledge: (alarm: string) => post<Alarm>(`/alarms/${id(alarm)}/acknowledge`, {}),
  clear: (alarm: string) => post<Alarm>(`/alarms/${id(alarm)}/clear`, {}),
};

export const rules = {
  list: (signal?: Signal) => get<List<Rule>>('/rules', {}, signal),
  get: (rule: string, signal?: Signal) => get<Rule>(`/rules/${id(rule)}`, {}, signal),
  add: (rule: RuleDocument) => post<Rule>('/rules', rule),
  edit: (rule: string, edit: Partial<RuleDocument>) => patch<Rule>(`/rules/${id(rule)}`, edit),
  delete: (rule: string) => remove(`/rules/${id(rule)}`),
  check: (rule: RuleDocument, signal?: Signal) => post<{ devices: number }>('/rules/check', rule, signal),
  firings: (rule: string, query: Page, signal?: Signal) =>
    get<List<Firing>>(`/rules/${id(rule)}/firings`, query, signal),
  tryOut: (rule: RuleDocument, days: number, signal?: Signal) =>
    post<Replay>('/rules/replay', { rule, days }, signal),
};

export const groups = {
  list: (signal?: Signal) => get<List<Group>>('/groups', {}, signal),
  add: (group: NewGroup) => post<Group>('/groups', group),
  edit: (group: string, edit: Partial<NewGroup>) => patch<Group>(`/groups/${id(group)}`, edit),
  delete: (group: string) => remove(`/groups/${id(group)}`),
};

export const webhooks = {
  list: (signal?: Signal) => get<List<Webhook>>('/webhooks', {}, signal),
  get: (webhook: string, signal?: Signal) => get<Webhook>(`/webhooks/${id(webhook)}`, {}, signal),
  add: (webhook: NewWebhook) => post<WebhookSecret>('/webhooks', webhook),
  edit: (webhook: string, edit: WebhookEdit) => patch<Webhook>(`/webhooks/${id(webhook)}`, edit),
  delete: (webhook: string) => remove(`/webhooks/${id(webhook)}`),
  rotate: (webhook: string) => post<WebhookSecret>(`/webhooks/${id(webhook)}/secret`),
  ping: (webhook: string) => post<WebhookPing>(`/webhooks/${id(webhook)}/ping`),
  /** Of a webhook, or of mail where it is `mail`. */
  deliveries: (webhook: string, query: Query, signal?: Signal) =>
    get<List<Delivery>>(`/webhooks/${id(webhook)}/deliveries`, query, signal),
  delivery: (webhook: string, delivery: string) =>
    get<Delivery & { body: unknown }>(`/webhooks/${id(webhook)}/deliveries/${id(delivery)}`),
  resend: (webhook: string, delivery: string) =>
    post<void>(`/webhooks/${id(webhook)}/deliveries/${id(delivery)}/resend`),
  resendAll: (webhook: string) => post<void>(`/webhooks/${id(webhook)}/deliveries/resend`),
};

export const mail = {
  state: (signal?: Signal) => get<MailState>('/mail', {}, signal),
};

export const capabilities = {
  list: (signal?: Signal) => get<List<Capability>>('/capabilities', {}, signal),
  describe: (name: string, description: string) => put<void>(`/capabilities/${id(name)}`, { description }),
  delete: (name: string) => remove(`/capabilities/${id(name)}`),
};

export const inbox = {
  list: (query: { state: KnockState } & Page, signal?: Signal) => get<KnockList>('/inbox', query, signal),
  accept: (knock: string, wanted: Acceptance) =>
    post<Device & { credential: string }>(`/inbox/${id(knock)}/accept`, wanted),
  refuse: (knock: string) => post<void>(`/inbox/${id(knock)}/refuse`),
  ignore: (knock: string) => post<void>(`/inbox/${id(knock)}/ignore`),
  reopen: (knock: string) => post<void>(`/inbox/${id(knock)}/reopen`),
  delete: (knock: string) => remove(`/inbox/${id(knock)}`),
};

export const telemetry = {
  history: (query: Query, signal?: Signal) => get<History>('/telemetry', query, signal),
  exportAddress: (query: Query) => addressOf('/telemetry/export', query),
};

export const metrics = {
  list: (query: Query, signal?: Signal) =>
    get<List<MetricInfo> & { retention: Retention }>('/metrics', query, signal),
  edit: (metric: string, edit: MetricEdit) => patch<MetricInfo>(`/metrics/${id(metric)}`, edit),
  delete: (metric: string) => remove(`/metrics/${id(metric)}`),
};

export const scripts = {
  list: (query: Query, signal?: Signal) => get<List<Script>>('/scripts', query, signal),
  get: (script: string, signal?: Signal) => get<Script>(`/scripts/${id(script)}`, {}, signal),
  add: (script: {
    name: string;
    language: ScriptLanguage;
    source: string;
    description?: string;
    category?: string;
    comment?: string;
  }) => post<{ id: string; version: number; number: number; syntax: Syntax }>('/scripts', script),
  edit: (script: string, edit: Partial<Pick<Script, 'name' | 'description' | 'category' | 'requires'>>) =>
    patch<Script>(`/scripts/${id(script)}`, edit),
  delete: (script: string) => remove(`/scripts/${id(script)}`),
  versions: (script: string, signal?: Signal) =>
    get<Items<Version>>(`/scripts/${id(script)}/versions`, { limit: 1000 }, signal),
  version: (script: string, version: number, signal?: Signal) =>
    get<VersionWithSource>(`/scripts/${id(script)}/versions/${version}`, {}, signal),
  save: (script: string, source: string, comment: string, basedOn: number | undefined) =>
    post<{ version: number; syntax: Syntax }>(`/scripts/${id(script)}/versions`, {
      source,
      comment,
      ...(basedOn ? { based_on: basedOn } : {}),
    }),
  diff: (script: string, from: number, to: number, signal?: Signal) =>
    get<{ lines: DiffLine[] }>(`/scripts/${id(script)}/diff`, { from, to }, signal),
  check: (language: ScriptLanguage, source: string, signal?: Signal) =>
    post<Syntax>('/scripts/check', { language, source }, signal),
};

export const flows = {
  list: (query: Query, signal?: Signal) => get<List<Flow>>('/flows', query, signal),
  get: (flow: string, signal?: Signal) => get<Flow>(`/flows/${id(flow)}`, {}, signal),
  add: (flow: Graph & { name: string; description?: string; comment?: string }) => post<Flow>('/flows', flow),
  edit: (flow: string, edit: { name?: string; description?: string }) =>
    patch<Flow>(`/flows/${id(flow)}`, edit),
  delete: (flow: string) => remove(`/flows/${id(flow)}`),
  versions: (flow: string, signal?: Signal) =>
    get<Items<FlowVersion>>(`/flows/${id(flow)}/versions`, {}, signal),
  version: (flow: string, version: number, signal?: Signal) =>
    get<FlowVersion & { graph: unknown }>(`/flows/${id(flow)}/versions/${version}`, {}, signal),
  save: (flow: string, graph: Graph, comment: string, basedOn: number | undefined) =>
    post<Flow>(`/flows/${id(flow)}/versions`, {
      ...graph,
      comment,
      ...(basedOn ? { based_on: basedOn } : {}),
    }),
  check: (graph: Graph, flow: string | null, signal?: Signal) =>
    post<{ ok: true; plan: Placement }>('/flows/check', flow ? { ...graph, flow } : graph, signal),
  dryRun: (flow: string, version: number, without: string[], signal?: Signal) =>
    post<Placement>(`/flows/${id(flow)}/dry-run`, { version, without }, signal),
  deploy: (flow: string, version: number) => post<Placement>(`/flows/${id(flow)}/deploy`, { version }),
  stop: (flow: string) => post<void>(`/flows/${id(flow)}/stop`),
  placement: (flow: string, signal?: Signal) => get<Placement>(`/flows/${id(flow)}/placement`, {}, signal),
  placements: (flow: string, query: Page, signal?: Signal) =>
    get<List<PlacementChange>>(`/flows/${id(flow)}/placements`, query, signal),
  program: (flow: string, device: string, signal?: Signal) =>
    get<FlowProgram>(`/flows/${id(flow)}/programs/${id(device)}`, {}, signal),
  importNodeRed: (nodes: Blob, save: boolean) =>
    postText<FlowImport>('/flows/import/node-red', save ? { save: true } : {}, nodes, 'application/json'),
};

export const firmware = {
  list: (query: Query, signal?: Signal) => get<FirmwareList>('/firmware', query, signal),
  get: (firmware: string, signal?: Signal) => get<Firmware>(`/firmware/${id(firmware)}`, {}, signal),
  devices: (firmware: string, signal?: Signal) =>
    get<List<Device>>(`/firmware/${id(firmware)}/devices`, {}, signal),
  upload: (form: FormData, tell: (percent: number) => void) => postForm<Firmware>('/firmware', form, tell),
  edit: (firmware: string, notes: string) => patch<Firmware>(`/firmware/${id(firmware)}`, { notes }),
  delete: (firmware: string) => remove(`/firmware/${id(firmware)}`),
};

/** What a deployment brings. */
type Brought = { script?: string; version?: number; firmware?: string };

export const deployments = {
  list: (query: Query, signal?: Signal) => get<List<Deployment>>('/deployments', query, signal),
  get: (deployment: string, signal?: Signal) =>
    get<Deployment & { tasks: Task[] }>(`/deployments/${id(deployment)}`, {}, signal),
  tasks: (deployment: string, query: Query & Page, signal?: Signal) =>
    get<List<Task>>(`/deployments/${id(deployment)}/tasks`, query, signal),
  start: (order: Target & Brought & { token: string; health_window_seconds?: number }) =>
    post<{ id: string; total: number }>('/deployments', order),
  preview: (target: Target & { script?: string; firmware?: string }, signal?: Signal) =>
    post<Reach>('/deployments/preview', target, signal),
  cancel: (deployment: string) => post<void>(`/deployments/${id(deployment)}/cancel`),
  retry: (deployment: string, list?: string[]) =>
    post<{ tasks: number }>(`/deployments/${id(deployment)}/retry`, list ? { devices: list } : {}),
  rollBack: (deployment: string, list?: string[]) =>
    post<{ id: string; total: number }>(
      `/deployments/${id(deployment)}/rollback`,
      list ? { devices: list } : {},
    ),
};

export const commands = {
  list: (query: Query, signal?: Signal) => get<List<Command>>('/commands', query, signal),
  get: (command: string, signal?: Signal) => get<Command>(`/commands/${id(command)}`, {}, signal),
  executions: (command: string, query: Query & Page, signal?: Signal) =>
    get<List<Execution>>(`/commands/${id(command)}/executions`, query, signal),
  ofDevice: (device: string, query: Query, signal?: Signal) =>
    get<List<Execution>>(`/devices/${id(device)}/commands`, query, signal),
  send: (order: Target & { token: string; name: string; args: unknown; expires_in_seconds: number }) =>
    post<{ id: string; devices: number }>('/commands', order),
  cancel: (command: string) => post<void>(`/commands/${id(command)}/cancel`),
  /** Asks a device that is there, and waits for what it answers. */
  ask: async (device: string, name: string, args: unknown): Promise<unknown> =>
    (await post<{ result: unknown }>(`/devices/${id(device)}/ask`, { name, args })).result,
};

export const connections = {
  list: (query: Query, signal?: Signal) => get<ConnectionList>('/connections', query, signal),
  disconnect: (connection: string) => post<void>(`/connections/${id(connection)}/disconnect`),
  forget: (connection: string) => remove(`/connections/${id(connection)}`),
};

export const gateways = {
  list: (signal?: Signal) => get<List<Gateway>>('/gateways', {}, signal),
  add: (gateway: NewGateway) => post<Joining>('/gateways', gateway),
  edit: (gateway: string, edit: GatewayEdit) => patch<Gateway>(`/gateways/${id(gateway)}`, edit),
  rotate: (gateway: string, hub: string) => post<Joining>(`/gateways/${id(gateway)}/key`, { hub }),
  revoke: (gateway: string) => remove(`/gateways/${id(gateway)}/key`),
  delete: (gateway: string) => remove(`/gateways/${id(gateway)}`),
};

export const cameras = {
  get: (device: string, signal?: Signal) => get<Camera>(`/devices/${id(device)}/camera`, {}, signal),
  allow: (device: string, origin: string) => put<Camera>(`/devices/${id(device)}/camera`, { origin }),
  forbid: (device: string) => remove(`/devices/${id(device)}/camera`),
  /** As an address that holds all of it. */
  picture: (device: string, signal: AbortSignal) => getData(`/devices/${id(device)}/camera/picture`, signal),
};

export const positions = {
  list: (signal?: Signal) => get<{ items: Position[]; more: boolean }>('/positions', {}, signal),
};

export const grants = {
  list: (signal?: Signal) => get<List<Grant>>('/grants', { limit: 1000 }, signal),
  add: (grant: Omit<Grant, 'id'>) => post<{ id: string }>('/grants', grant),
  delete: (grant: string) => remove(`/grants/${id(grant)}`),
};

export const activity = {
  list: (query: Query, signal?: Signal) => get<ChangePage>('/activity', query, signal),
  exportAddress: (query: Query) => addressOf('/activity/export', query),
};

export const usage = {
  list: (days: number, signal?: Signal) => get<Items<UsageDay>>('/usage', { days }, signal),
};

export const hub = {
  overview: (signal?: Signal) => get<Overview>('/overview', {}, signal),
  system: (signal?: Signal) => get<System>('/system', {}, signal),
  nodes: (signal?: Signal) => get<NodeList>('/nodes', {}, signal),
};

export type { Change };
