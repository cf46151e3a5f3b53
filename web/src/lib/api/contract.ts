//! The shapes of the HTTP API by short names. They are made from the generated schema; where that says only
//! «text», the closed set of words is told here, and a field that may be null is always there.
import type { Document, Shown } from '../domain/dashboard';
import type { components } from './schema';

type Known = components['schemas'];
/** A generated shape, with some of its fields told more exactly. */
type Told<T, U> = Omit<Required<T>, keyof U> & U;

export type List<T> = { items: T[]; total: number };

export type Role = Known['Role'];
export type Me = Known['Me'];
export type User = Required<Known['User']>;
export type Token = Required<Known['Token']>;
export type PusherApp = Required<Known['PusherApp']>;
export type PusherAppList = Known['PusherAppList'];
export type NewPusherApp = Known['NewPusherApp'];
export type PusherAppCreated = Required<Known['PusherAppCreated']>;
export type PyaiotKey = Required<Known['PyaiotKey']>;
export type NewPyaiotKey = Known['NewPyaiotKey'];

/** A token with what is shown of it only now; the last two if it has an access key. */
export type NewToken = Required<Known['TokenCreated']>;
export type Certificate = Required<Known['CertificateEntry']>;
export type NewCertificate = Required<Known['NewCertificate']>;

export type Problem = Pick<Known['Problem'], 'title' | 'status' | 'code' | 'detail'> & {
  field?: string;
  line?: number;
  /** Where in a selector the mistake is, in characters from 1. */
  position?: number;
  /** Seconds, from the Retry-After header. */
  retry_after?: number;
};

export type Dialect = 'nodemcu' | 'native' | 'micropython' | 'mongoose' | 'riot' | 'esp-firmware' | 'line';
export type TaskState =
  | 'Waiting'
  | 'Offered'
  | 'Fetching'
  | 'Applying'
  | 'Confirming'
  | 'Done'
  | 'Failed'
  | 'TimedOut'
  | 'Reverted'
  | 'RolledBack'
  | 'Cancelled';
export type DeploymentState = 'Running' | 'Done' | 'Failed' | 'Cancelled' | 'RolledBack';
export type DeviceState = 'ok' | 'pending' | 'failing' | 'waiting_for_script';

export type ScriptRef = Known['ScriptRef'];
export type FirmwareRef = Known['FirmwareRef'];
export type PendingRef = Told<Known['PendingRef'], { task_state: TaskState; firmware: FirmwareRef | null }>;
export type Device = Told<
  Known['Device'],
  {
    dialect: Dialect;
    state: DeviceState;
    /** Unreachable: the link to its gateway is lost, so it is not known whether it is there. */
    reach: 'online' | 'offline' | 'unreachable';
    gateway: string | null;
    active: ScriptRef | null;
    running: ScriptRef | null;
    firmware: FirmwareRef | null;
    pending: PendingRef | null;
    rotation: (Known['Rotation'] & { state: 'waiting' | 'sent' }) | null;
    credential_shared: Known['CredentialShared'] | null;
  }
>;
export type Right = Known['Right'];
/** A device as a customer sees it. */
export type SharedDevice = Told<
  Known['SharedDevice'],
  {
    /** What is wanted of it and what it says, if there is anything. */
    shadow: { desired: Record<string, unknown>; reported: Record<string, unknown>; version: number } | null;
  }
>;
/** What a shadow became, and by whom: customers are told `you` and `vendor`, and never `token`. */
export type ShadowRevision = Told<
  Known['ShadowRevision'],
  {
    actor_kind: 'you' | 'vendor' | 'user' | 'token' | 'device' | 'system';
    desired: Record<string, unknown>;
    reported: Record<string, unknown>;
  }
>;
/** A customer's right to a device. */
export type ShareInfo = Required<Known['Share']>;
export type InvitationInfo = Required<Known['Invitation']>;
/** A claim code or an invitation, which is shown only once. */
export type SecretCode = Required<Known['Code']>;
export type UsageDay = Known['UsageDay'];
export type Node = Known['Node'];
export type NodeList = Known['NodeList'];
export type Customer = Required<Known['Customer']>;

export type KnockState = 'new' | 'ignored' | 'refused';
/** Somebody unknown who asked to be let in. */
export type Knock = Told<
  Known['Knock'],
  {
    dialect: Dialect;
    transport: 'mqtt' | 'http' | 'coap' | 'pyaiot' | 'websocket';
    state: KnockState;
    device: string | null;
  }
>;
export type KnockList = List<Knock> & { waiting: number };
export type Acceptance = Known['Accept'];
export type ImportReport = Told<Known['ImportReport'], { credentials: string | null }>;
export type MdashReport = Known['MdashReport'];
export type IotBaseReport = Known['IotBaseReport'];
/** What comes of a file in which another product keeps things. */
export type KeptReport = Pick<
  MdashReport,
  'known' | 'entries' | 'entries_total' | 'errors' | 'errors_total'
> & { left_out?: number };
export type Report = Known['Report'];
export type Quarantine = Known['Quarantine'];
export type LogLine = Known['LogLineDto'];
export type NewDevice = Known['NewDevice'];
export type DeviceEdit = Known['DeviceEdit'];
/** How a unit is spoken to. */
export type Line = Known['Line'];
export type Metric = Told<
  Known['MetricList']['items'][number],
  { kind: 'number' | 'boolean' | 'text' | 'json' }
>;
export type Point = Known['PointList']['items'][number];
export type HistorySeries = Required<Known['HistorySeries']>;
export type History = Told<Known['History'], { series: HistorySeries[] }>;
export type MetricInfo = Told<
  Known['MetricInfo'],
  {
    display_name: string | null;
    unit: string | null;
    decimals: number | null;
    own: Required<Known['OwnEntry']> | null;
  }
>;
export type MetricEdit = Known['MetricEdit'];
export type Retention = Known['RetentionDto'] & { state: 'waiting' | 'fine' | 'failing' };
export type AssignedScript = Known['AssignedScript'];

export type Script = Known['Script'];
export type Syntax = { ok: true } | { ok: false; line: number; message: string };
export type Version = Told<Omit<Known['Version'], 'source'>, { syntax: Syntax }>;
export type VersionWithSource = Version & { source: string };
export type DiffLine = Told<Known['DiffLine'], { op: ' ' | '+' | '-' }>;

export type FlowState = 'stopped' | 'running' | 'partly';
/** A flow; with its newest graph where one is asked for. */
export type Flow = Told<Known['Flow'], { state: FlowState; graph: unknown }>;
/** With its graph where one version is asked for. */
export type FlowVersion = Told<Known['FlowVersionDto'], { graph: unknown }>;
/** Where a step runs; null is nowhere. */
export type Place = Known['PlaceDto'];
export type Candidate = Required<Known['CandidateDto']>;
export type PlacedStep = Told<Known['PlacedDto'], { place: Place | null; candidates: Candidate[] }>;
export type PlacedBoard = Told<
  Known['BoardDto'],
  { task: { state: TaskState; reason?: string | null } | null }
>;
export type WireCount = Told<Known['WireDto'], { last_value: unknown }>;
export type FlowErrors = Known['FaultDto'][];
export type Placement = Told<
  Known['Placement'],
  { steps: PlacedStep[]; boards: PlacedBoard[]; wires: WireCount[]; errors: FlowErrors }
>;
export type PlacementChange = Told<Known['LayoutDto'], { moves: Required<Known['Move']>[] }>;
export type FlowProgram = Known['Program'];
/** Documents, or flows if they were saved. */
export type FlowImport = Told<
  Known['ImportedFlows'],
  { flows: { id?: string; name: string; steps?: unknown[] }[] }
>;

export type Firmware = Told<Known['Firmware'], { manifest: Record<string, unknown> | null }>;
export type FirmwareList = List<Firmware> & { size_bytes_max: number };

export type Task = Told<
  Known['Task'],
  {
    state: TaskState;
    previous: ScriptRef | null;
    firmware: FirmwareRef | null;
    previous_firmware: FirmwareRef | null;
  }
>;
export type Counts = Record<TaskState, number>;
export type Deployment = Told<
  Known['Deployment'],
  {
    cause: 'asked' | 'rollback' | 'recovery';
    state: DeploymentState;
    counts: Counts;
    firmware: FirmwareRef | null;
  }
>;
export type ExecutionState = 'Queued' | 'Sent' | 'Done' | 'Failed' | 'Expired';
export type ExecutionCounts = Record<ExecutionState, number>;
export type Command = Told<
  Known['Command'],
  { args: unknown; selector: string | null; counts: ExecutionCounts }
>;
export type Execution = Told<
  Known['Execution'],
  { args: unknown; state: ExecutionState; result: unknown; reason: string | null }
>;
/** Which devices: a selector or a list of device ids. */
export type Target = { selector: string } | { devices: string[] };

/** Whom a deployment would reach, and who cannot have it; the token stands for exactly these devices. */
export type Reach = List<Device> & {
  left_out: { device: string; name: string; reason: string }[];
  left_out_total: number;
  token: string;
};
/** Who was seen, and what of a request reaches exactly them. */
export type Seen = { reach: Reach; to: Target & { token: string } } | null;

export type Severity = 'info' | 'warning' | 'critical';
export type AlarmState = 'raised' | 'acknowledged' | 'cleared';
export type Alarm = Told<
  Known['Alarm'],
  {
    severity: Severity;
    state: AlarmState;
    device: string | null;
    device_name: string | null;
    acknowledged_at: string | null;
    acknowledged_by: string | null;
    cleared_at: string | null;
    cleared_by: string | null;
    value: unknown;
  }
>;
/** A rule as people write it; what it does is in `domain/rule`. */
export type RuleDocument = {
  name: string;
  description: string;
  enabled: boolean;
  devices?: string | null;
  when: Record<string, unknown>;
  condition?: string | null;
  for_s?: number | null;
  until?: string | null;
  actions: Record<string, unknown>[];
  quiet_s?: number | null;
};
export type Rule = RuleDocument & {
  id: string;
  enabled_at: string | null;
  firings: number;
  fired_at: string | null;
  errors: number;
  last_error: string | null;
  last_error_at: string | null;
  created_at: string;
  updated_at: string;
};
/** Why a rule fired. */
export type Trace = {
  came: {
    kind: string;
    metric?: string;
    value?: unknown;
    time?: number;
    path?: string;
    name?: string;
    reach?: string;
  };
  previous: unknown;
  condition: string | null;
  metrics: Record<string, unknown>;
  since: number | null;
  actions: Record<string, unknown>[];
};
export type ReplayedFiring = {
  at: string;
  device: string | null;
  device_name: string | null;
  ended_at: string | null;
  trace: Trace;
};
export type Firing = ReplayedFiring & { id: string; done: boolean; problems: string[] };
export type Replay = {
  from: string;
  to: string;
  firings: ReplayedFiring[];
  total: number;
  devices: number;
  points: number;
  errors: number;
  error: string | null;
  truncated: string | null;
};
export type Group = Told<Known['Group'], { members: number | null }>;
export type NewGroup = Known['NewGroup'];
export type Webhook = Told<Known['Webhook'], { devices: string | null; disabled_because: string | null }>;
export type NewWebhook = Known['NewWebhook'];
export type WebhookEdit = Known['WebhookEdit'];
export type WebhookSecret = Known['WebhookSecret'];
export type WebhookPing = Told<Known['WebhookPing'], { status: number | null }>;
export type Delivery = Told<Known['Delivery'], { status: number | null; answer: string | null }>;
export type MailState = Told<Known['MailState'], { server: string | null; from: string | null }>;
export type Capability = Known['Capability'];
export type SelectorWords = Known['SelectorWords'];
export type BulkAction =
  | { kind: 'tag' | 'untag'; tags: string[] }
  | { kind: 'add_capabilities' | 'remove_capabilities'; capabilities: string[] }
  | { kind: 'rotate' | 'delete' };
export type BulkPreview = Known['BulkPreview'];
export type BulkProgress = Known['BulkProgress'];

/** A gateway on another host. */
export type Gateway = Told<
  Known['Gateway'],
  { state: 'linked' | 'lost' | 'new' | 'revoked'; link: Known['GatewayLink'] | null }
>;
export type NewGateway = Known['NewGateway'];
export type GatewayEdit = Known['GatewayEdit'];
/** With the join file, which is shown only once. */
export type Joining = { gateway: Gateway; join_file: string };

/** Where a device says that its picture is, and from where it may be fetched. */
export type Camera = Required<Known['Camera']>;
/** A device that says where it is. */
export type Position = Told<Known['Position'], { reach: Device['reach'] }>;

export type Grant = Required<Known['Grant']>;

export type Connection = Told<Known['Connection'], { kind: 'device' | 'token' | 'anonymous' }>;
export type BrokerTotals = Required<Known['BrokerTotals']>;
export type ConnectionList = Told<Known['ConnectionList'], { items: Connection[] }>;

export type Change = Told<
  Known['Change'],
  {
    actor: { kind: 'user' | 'token' | 'device' | 'system'; name: string };
    device?: string | null;
    before?: unknown;
    after?: unknown;
  }
>;
export type ChangePage = { items: Change[]; more: boolean };

export type Overview = Told<Known['Overview'], { activity: Change[] }>;
export type System = Known['SystemDto'] & {
  /** Where devices reach MQTT, if the hub says so. */
  mqtt_port?: number;
};

/** A dashboard in the list. */
export type DashboardEntry = Omit<Required<Known['Dashboard']>, 'document'>;
export type Dashboard = DashboardEntry & { document: Document };
export type AlarmInfo = Told<
  Known['Alarm'],
  { severity: 'info' | 'warning' | 'critical'; state: 'raised' | 'acknowledged' | 'cleared' }
>;
/** What a block shows now. */
export type BlockData = {
  devices?: Shown[];
  total?: number;
  alarms?: AlarmInfo[];
  flow?: Told<Known['ShownFlow'], { state: FlowState }>;
  error?: string;
};
export type LinePoint = NonNullable<Known['BlockSeries']['points']>[number];
export type BlockHistory = { series: Known['BlockSeries'][]; more: boolean };
export type DashboardLink = Required<Known['PublicLink']>;
/** With what is shown only once. */
export type NewDashboardLink = DashboardLink & Required<Known['LinkMade']>;
export type PublicDashboard = Told<Known['PublicDashboard'], { document: Document }>;
