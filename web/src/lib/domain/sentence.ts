//! A change as a sentence with a link: who did what to what. One visible table; unknown kinds are still readable.
import type { Change } from '../api/contract';
import { wordOf } from './state';
import type { Tone } from './state';

type Wording = { verb: string; tone: Tone };

const WORDING: Record<string, Wording> = {
  device_registered: { verb: 'registered device', tone: 'ok' },
  device_edited: { verb: 'edited device', tone: 'idle' },
  device_deleted: { verb: 'deleted device', tone: 'warn' },
  credential_issued: { verb: 'issued a credential for', tone: 'info' },
  credential_revoked: { verb: 'revoked the credential of', tone: 'warn' },
  device_online: { verb: 'came online', tone: 'ok' },
  device_offline: { verb: 'went offline', tone: 'idle' },
  script_created: { verb: 'created script', tone: 'ok' },
  script_edited: { verb: 'edited script', tone: 'idle' },
  script_deleted: { verb: 'deleted script', tone: 'warn' },
  version_saved: { verb: 'saved a version of', tone: 'info' },
  script_assigned: { verb: 'assigned a script to', tone: 'idle' },
  script_unassigned: { verb: 'unassigned a script from', tone: 'idle' },
  script_activated: { verb: 'activated a script on', tone: 'info' },
  deployment_started: { verb: 'started the deployment of', tone: 'info' },
  deployment_cancelled: { verb: 'cancelled the deployment of', tone: 'warn' },
  deployment_ended: { verb: 'ended the deployment of', tone: 'idle' },
  task_moved: { verb: 'moved the task of', tone: 'info' },
  user_created: { verb: 'created user', tone: 'ok' },
  user_edited: { verb: 'edited user', tone: 'idle' },
  user_deleted: { verb: 'deleted user', tone: 'warn' },
  password_changed: { verb: 'changed the password of', tone: 'idle' },
  token_created: { verb: 'created token', tone: 'info' },
  token_revoked: { verb: 'revoked token', tone: 'warn' },
  login_succeeded: { verb: 'logged in as', tone: 'idle' },
  login_failed: { verb: 'failed to log in as', tone: 'bad' },
  logged_out: { verb: 'logged out', tone: 'idle' },
  grant_added: { verb: 'granted', tone: 'info' },
  grant_removed: { verb: 'removed the grant of', tone: 'warn' },
  uplink_refused: { verb: 'was refused a message about', tone: 'bad' },
  setup_done: { verb: 'finished the set-up as', tone: 'ok' },
};

export const KINDS: string[] = Object.keys(WORDING);
export const NOUNS: string[] = ['device', 'script', 'deployment', 'task', 'user', 'token', 'grant'];

const PLACES: Record<string, string> = { device: 'devices', script: 'scripts', deployment: 'deployments' };

export type Sentence = { who: string; verb: string; what: string; href: string | null; tail: string; tone: Tone };

export function sentenceOf(change: Change): Sentence {
  const wording = WORDING[change.kind] ?? { verb: change.kind.replaceAll('_', ' '), tone: 'idle' };
  const own = isOwnDeed(change);
  const state = change.kind === 'task_moved' || change.kind === 'deployment_ended' ? stateIn(change.after) : null;
  return {
    who: own ? '' : whoDid(change),
    verb: state === null || change.kind !== 'task_moved' ? wording.verb : 'task of',
    what: change.subject_name || change.subject,
    href: placeOf(change),
    tail: state === null ? '' : `${wordOf(state)}${reasonIn(change.after)}`,
    tone: state === null ? wording.tone : toneOfEnd(state, wording.tone),
  };
}

/** «Lamp came online», not «Lamp came online Lamp»: the subject itself acted. */
function isOwnDeed(change: Change): boolean {
  return change.kind === 'device_online' || change.kind === 'device_offline' || change.kind === 'logged_out'
    || change.kind === 'task_moved';
}

/** Kinds where the subject stands before the verb. */
export function subjectFirst(change: Change): boolean {
  return change.kind === 'device_online' || change.kind === 'device_offline' || change.kind === 'logged_out';
}

function whoDid(change: Change): string {
  return change.actor.kind === 'system' ? 'The hub' : change.actor.name;
}

function placeOf(change: Change): string | null {
  if (change.kind.endsWith('_deleted')) return null;
  if (change.noun === 'task') return change.device ? `/devices/${encodeURIComponent(change.device)}` : null;
  const place = PLACES[change.noun];
  return place === undefined ? null : `/${place}/${encodeURIComponent(change.subject)}`;
}

function stateIn(after: unknown): string | null {
  if (typeof after === 'string') return after;
  if (typeof after !== 'object' || after === null || !('state' in after)) return null;
  return typeof after.state === 'string' ? after.state : null;
}

function reasonIn(after: unknown): string {
  if (typeof after !== 'object' || after === null || !('reason' in after)) return '';
  return typeof after.reason === 'string' && after.reason !== '' ? `: ${after.reason}` : '';
}

function toneOfEnd(state: string, otherwise: Tone): Tone {
  const word = state.toLowerCase().replaceAll('_', '');
  if (word === 'done') return 'ok';
  if (word === 'failed' || word === 'timedout') return 'bad';
  return word === 'rolledback' ? 'warn' : otherwise;
}
