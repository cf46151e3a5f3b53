//! A change as a sentence with a link: who did what to what. One visible table; unknown kinds are still
//! readable.
import type { Change } from '../api/contract';
import { wordOf, type Tone } from './state';

/**
 * In `text`, {} is the subject and {name} the script it is about. Where the subject leads, nobody else is
 * named.
 */
type Wording = { text: string; tone: Tone };

const WORDING: Record<string, Wording> = {
  device_registered: { text: 'registered {}', tone: 'ok' },
  device_edited: { text: 'edited {}', tone: 'idle' },
  device_deleted: { text: 'deleted the device {}', tone: 'warn' },
  credential_issued: { text: 'issued a credential for {}', tone: 'info' },
  credential_revoked: { text: 'revoked the credential of {}', tone: 'warn' },
  credential_rotation_started: { text: 'rotates the credential of {}', tone: 'info' },
  credential_rotated: { text: '{} uses its new credential', tone: 'ok' },
  certificate_issued: { text: 'issued a certificate for {}', tone: 'info' },
  certificate_revoked: { text: 'revoked a certificate of {}', tone: 'warn' },
  shadow_updated: { text: 'changed the shadow of {}', tone: 'info' },
  shadow_deleted: { text: 'deleted the shadow of {}', tone: 'warn' },
  camera_allowed: { text: 'allowed to fetch the picture of {}', tone: 'warn' },
  camera_forbidden: { text: 'has the picture of {} fetched no more', tone: 'info' },
  credential_shared: { text: 'the credential of {} was used from two addresses at once', tone: 'warn' },
  device_online: { text: '{} came online', tone: 'ok' },
  device_offline: { text: '{} went offline', tone: 'idle' },
  device_unreachable: { text: 'the link to the gateway of {} was lost', tone: 'warn' },
  gateway_registered: { text: 'made the gateway {}', tone: 'ok' },
  gateway_edited: { text: 'edited the gateway {}', tone: 'idle' },
  gateway_deleted: { text: 'deleted the gateway {}', tone: 'warn' },
  gateway_key_issued: { text: 'made a new key for the gateway {}', tone: 'info' },
  gateway_key_used: { text: 'the gateway {} uses its new key', tone: 'ok' },
  gateway_revoked: { text: 'revoked the keys of the gateway {}', tone: 'warn' },
  gateway_linked: { text: 'the gateway {} is linked', tone: 'ok' },
  gateway_lost: { text: 'the link to the gateway {} was lost', tone: 'warn' },
  uplink_refused: { text: '{} sent a message that was refused', tone: 'bad' },
  device_announced: { text: '{} said what it is', tone: 'idle' },
  device_event: { text: '{} reported {name}', tone: 'info' },
  device_problem: { text: '{} has a problem', tone: 'bad' },
  clock_wrong: { text: 'the clock of {} is wrong', tone: 'warn' },
  version_quarantined: { text: 'keeps a version away from {}', tone: 'bad' },
  quarantine_lifted: { text: 'lets {} have a version again', tone: 'info' },
  script_created: { text: 'created the script {}', tone: 'ok' },
  script_edited: { text: 'edited the script {}', tone: 'idle' },
  script_deleted: { text: 'deleted the script {}', tone: 'warn' },
  version_saved: { text: 'saved a version of {}', tone: 'info' },
  firmware_uploaded: { text: 'uploaded the firmware {}', tone: 'ok' },
  firmware_edited: { text: 'edited the notes on {}', tone: 'idle' },
  firmware_deleted: { text: 'deleted the firmware {}', tone: 'warn' },
  script_assigned: { text: 'assigned {name} to {}', tone: 'idle' },
  script_unassigned: { text: 'unassigned {name} from {}', tone: 'idle' },
  script_activated: { text: 'activated {name} on {}', tone: 'info' },
  deployment_started: { text: 'started the deployment {}', tone: 'info' },
  deployment_cancelled: { text: 'cancelled the deployment {}', tone: 'warn' },
  deployment_ended: { text: '{} ended', tone: 'idle' },
  task_moved: { text: '{}, update', tone: 'info' },
  flow_saved: { text: 'saved a version of the flow {}', tone: 'info' },
  flow_edited: { text: 'edited the flow {}', tone: 'idle' },
  flow_deployed: { text: 'deployed the flow {}', tone: 'info' },
  flow_stopped: { text: 'stopped the flow {}', tone: 'warn' },
  flow_placed: { text: 'moved steps of the flow {}', tone: 'info' },
  flow_deleted: { text: 'deleted the flow {}', tone: 'warn' },
  command_requested: { text: 'sent the command {}', tone: 'info' },
  command_cancelled: { text: 'cancelled the command {}', tone: 'warn' },
  command_moved: { text: '{}, {name}', tone: 'info' },
  user_created: { text: 'created the user {}', tone: 'ok' },
  user_edited: { text: 'edited the user {}', tone: 'idle' },
  user_deleted: { text: 'deleted the user {}', tone: 'warn' },
  password_changed: { text: 'changed the password of {}', tone: 'idle' },
  customer_signed_up: { text: '{} signed up as a customer', tone: 'ok' },
  claim_code_made: { text: 'made a claim code for {}', tone: 'info' },
  device_claimed: { text: 'claimed {}', tone: 'ok' },
  device_released: { text: 'gave {} back', tone: 'warn' },
  share_given: { text: 'shared {}', tone: 'info' },
  share_revoked: { text: 'ended a share of {}', tone: 'warn' },
  share_renamed: { text: 'has another name for {}', tone: 'idle' },
  invitation_made: { text: 'made an invitation to {}', tone: 'info' },
  invitation_withdrawn: { text: 'withdrew an invitation to {}', tone: 'idle' },
  pusher_app_added: { text: 'added the Pusher app {}', tone: 'info' },
  pusher_app_deleted: { text: 'deleted the Pusher app {}', tone: 'warn' },
  base_connected: { text: 'an original base came in with the Pusher app {}', tone: 'ok' },
  base_disconnected: { text: 'the original base of the Pusher app {} is gone', tone: 'warn' },
  pyaiot_key_added: { text: 'added the key {} for Pyaiot gateways', tone: 'info' },
  pyaiot_key_revoked: { text: 'revoked the key {} of Pyaiot gateways', tone: 'warn' },
  pyaiot_gateway_connected: { text: 'a Pyaiot gateway came in with the key {}', tone: 'ok' },
  pyaiot_gateway_disconnected: { text: 'a Pyaiot gateway with the key {} is gone', tone: 'warn' },
  token_created: { text: 'made the token {}', tone: 'info' },
  token_revoked: { text: 'revoked the token {}', tone: 'warn' },
  login_succeeded: { text: '{} logged in', tone: 'idle' },
  login_failed: { text: '{} did not get in', tone: 'bad' },
  logged_out: { text: '{} logged out', tone: 'idle' },
  grant_added: { text: 'granted {}', tone: 'info' },
  grant_removed: { text: 'removed the grant {}', tone: 'warn' },
  client_disconnected: { text: 'disconnected the client {}', tone: 'warn' },
  session_forgotten: { text: 'forgot the session of {}', tone: 'warn' },
  backup_taken: { text: 'took a {}', tone: 'warn' },
  knock_refused: { text: 'refused the unknown device {}', tone: 'warn' },
  knock_ignored: { text: 'ignored the unknown device {}', tone: 'idle' },
  knock_returned: { text: 'will decide anew about the unknown device {}', tone: 'info' },
  knock_deleted: { text: 'took the unknown device {} out of the inbox', tone: 'idle' },
  group_created: { text: 'made the group {}', tone: 'ok' },
  group_edited: { text: 'edited the group {}', tone: 'idle' },
  group_deleted: { text: 'deleted the group {}', tone: 'warn' },
  webhook_created: { text: 'made the webhook {}', tone: 'ok' },
  webhook_edited: { text: 'edited the webhook {}', tone: 'idle' },
  webhook_enabled: { text: 'enabled the webhook {}', tone: 'ok' },
  webhook_disabled: { text: 'disabled the webhook {}', tone: 'warn' },
  webhook_secret_rotated: { text: 'gave the webhook {} a new secret', tone: 'info' },
  webhook_deleted: { text: 'deleted the webhook {}', tone: 'warn' },
  deliveries_resent: { text: 'sent dead letters to {} again', tone: 'info' },
  capability_described: { text: 'described the capability {}', tone: 'idle' },
  capability_deleted: { text: 'took the capability {} out of the library', tone: 'warn' },
  metric_edited: { text: 'edited the metric {}', tone: 'idle' },
  telemetry_aged: { text: 'removed {} that reached its age', tone: 'idle' },
  setup_done: { text: '{} finished the set-up', tone: 'ok' },
};

export const KINDS: string[] = Object.keys(WORDING);
export const NOUNS: string[] = [
  'device',
  'script',
  'firmware',
  'deployment',
  'flow',
  'webhook',
  'command',
  'user',
  'share',
  'token',
  'login',
  'grant',
  'group',
  'capability',
  'knock',
  'metric',
];

const PLACES: Record<string, string> = {
  device: 'devices',
  share: 'devices',
  script: 'scripts',
  firmware: 'firmware',
  deployment: 'deployments',
  flow: 'flows',
  webhook: 'webhooks',
  command: 'commands',
};

export type Sentence = {
  who: string;
  /** The words before and after the subject. */
  before: string;
  what: string;
  href: string | null;
  after: string;
  /** What came of it. */
  tail: string;
  tone: Tone;
};

/** A change as a sentence. `times` is for how many it stands, where a device came and went. */
export function sentenceOf(change: Change, times = 1): Sentence {
  const known = times > 1 ? cameAndWent(change, times) : WORDING[change.kind];
  const wording = known ?? { text: `${change.kind.replaceAll('_', ' ')}: {}`, tone: 'idle' };
  const [before = '', after = ''] = wording.text.replace('{name}', nameIn(change)).split('{}');
  const state = textIn(change.after, 'state');
  return {
    who: before === '' ? '' : whoDid(change),
    before,
    what: subjectOf(change),
    href: placeOf(change),
    after,
    tail: tailOf(change, state),
    tone: state === null ? wording.tone : toneOfEnd(state, wording.tone),
  };
}

function cameAndWent({ kind }: Change, times: number): Wording {
  const isOnline = kind === 'device_online';
  const tone = isOnline ? 'ok' : 'idle';
  if (times === 2)
    return { text: isOnline ? '{} was away and came back' : '{} came online and went offline', tone };
  return { text: `{} came and went ${times} times, and is ${isOnline ? 'online' : 'offline'}`, tone };
}

function whoDid(change: Change): string {
  return change.actor.kind === 'system' ? 'Motehub' : change.actor.name;
}

/** A deployment without a name of its own is not called by its id. */
function subjectOf(change: Change): string {
  if (change.noun !== 'deployment' || change.subject_name !== change.subject)
    return change.subject_name || change.subject;
  const devices = numberIn(change.after, 'devices');
  if (devices === null) return change.kind === 'deployment_ended' ? 'A deployment' : change.subject.slice(-6);
  return `to ${devices === 1 ? 'one device' : `${devices} devices`}`;
}

function placeOf(change: Change): string | null {
  if (change.kind.endsWith('_deleted')) return null;
  if (change.noun === 'share' && !change.device) return null;
  if (change.kind === 'task_moved' && change.device) return `/devices/${encodeURIComponent(change.device)}`;
  const place = PLACES[change.noun];
  return place === undefined ? null : `/${place}/${encodeURIComponent(change.subject)}`;
}

function tailOf(change: Change, state: string | null): string {
  const reason = textIn(change.after, 'reason');
  if (state !== null) return reason === null ? wordOf(state) : `${wordOf(state)}: ${reason}`;
  if (change.kind === 'flow_placed') {
    const moved = numberIn(change.after, 'moved') ?? 0;
    return `${moved === 1 ? 'one step' : `${moved} steps`}: ${textIn(change.after, 'cause') ?? 'a new plan'}`;
  }
  if (['version_saved', 'flow_saved', 'flow_deployed'].includes(change.kind)) {
    const version = numberIn(change.after, 'version');
    return version === null ? '' : `version ${version}`;
  }
  if (change.kind === 'clock_wrong') return textIn(change.after, 'why') ?? '';
  return REASONED.includes(change.kind) ? (reason ?? '') : '';
}

/** Kinds whose reason says what came of it. */
const REASONED = ['uplink_refused', 'device_problem', 'version_quarantined'];

/** Whether the sentence already says all that changed. */
export function saysAll(change: Change): boolean {
  return [
    'task_moved',
    'deployment_ended',
    'flow_placed',
    'flow_deployed',
    'flow_stopped',
    'device_online',
    'device_offline',
    'device_unreachable',
    'uplink_refused',
    'clock_wrong',
    'version_quarantined',
    'script_assigned',
    'script_unassigned',
    'knock_refused',
    'knock_ignored',
    'knock_returned',
    'knock_deleted',
  ].includes(change.kind);
}

function nameIn(change: Change): string {
  return textIn(change.after, 'name') ?? textIn(change.before, 'name') ?? 'a script';
}

function textIn(value: unknown, field: string): string | null {
  const found = fieldOf(value, field);
  return typeof found === 'string' && found !== '' ? found : null;
}

function numberIn(value: unknown, field: string): number | null {
  const found = fieldOf(value, field);
  return typeof found === 'number' ? found : null;
}

function fieldOf(value: unknown, field: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : undefined;
}

function toneOfEnd(state: string, otherwise: Tone): Tone {
  if (state === 'Done') return 'ok';
  if (state === 'Failed' || state === 'TimedOut' || state === 'Reverted') return 'bad';
  return state === 'RolledBack' ? 'warn' : otherwise;
}
