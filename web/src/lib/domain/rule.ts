//! Rules as sentences, and the form in which they are written: «when … if … for … then …».
import type { RuleDocument, Severity, Trace } from '../api/contract';
import { spanText } from './span';
import type { Tone } from './state';

export type WhenKind = 'metric' | 'state' | 'absence' | 'presence' | 'schedule' | 'event';
export type ActionKind = 'alarm' | 'desired' | 'command' | 'webhook' | 'mail' | 'publish';
/** What people choose from. */
export const WHENS: [kind: WhenKind, text: string][] = [
  ['metric', 'a metric has a new point'],
  ['state', 'a value of the shadow changes'],
  ['absence', 'nothing is heard'],
  ['presence', 'a device comes or goes'],
  ['schedule', 'it is time'],
  ['event', 'a device reports an event'],
];
export const ACTIONS: [kind: ActionKind, text: string][] = [
  ['alarm', 'raise an alarm'],
  ['desired', 'desire a value'],
  ['command', 'give a command'],
  ['publish', 'publish by MQTT'],
  ['mail', 'send a mail'],
  ['webhook', 'call a webhook'],
];
export const SEVERITIES: Record<Severity, { text: string; tone: Tone }> = {
  critical: { text: 'Critical', tone: 'bad' },
  warning: { text: 'Warning', tone: 'warn' },
  info: { text: 'Info', tone: 'info' },
};
/** What a new action begins with. */
const STARTS: Record<ActionKind, unknown> = {
  alarm: { severity: 'warning', message: '{{ device.name }}: {{ value }}' },
  desired: { path: '', value: true },
  command: { name: '', arguments: null },
  publish: { topic: '', payload: '{{ value }}' },
  mail: { to: '', subject: '{{ device.name }}: {{ value }}', text: '' },
  webhook: '',
};
const WHEN_STARTS: Record<WhenKind, unknown> = {
  metric: '',
  state: 'reported.',
  absence: { for_s: 600 },
  presence: 'offline',
  schedule: { cron: '0 7 * * *', zone: '+00:00' },
  event: '',
};

export function newRule(): RuleDocument {
  return {
    name: '',
    description: '',
    enabled: false,
    when: { metric: '' },
    condition: 'value > 30',
    actions: [newAction('alarm')],
  };
}

export function newWhen(kind: WhenKind): Record<string, unknown> {
  return { [kind]: structuredClone(WHEN_STARTS[kind]) };
}

export function newAction(kind: ActionKind): Record<string, unknown> {
  return { [kind]: structuredClone(STARTS[kind]) };
}

export function kindOfWhen(when: Record<string, unknown>): WhenKind {
  return (WHENS.find(([kind]) => kind in when)?.[0] ?? 'metric') as WhenKind;
}

export function kindOfAction(action: Record<string, unknown>): ActionKind {
  return (ACTIONS.find(([kind]) => kind in action)?.[0] ?? 'alarm') as ActionKind;
}

/** Whether what a rule looks at can hold for a time and be over again. */
export function lasts(rule: RuleDocument): boolean {
  const kind = kindOfWhen(rule.when);
  if (kind === 'metric' || kind === 'state') return (rule.condition ?? '') !== '';
  return kind === 'presence';
}

/** The document as it is sent: what is empty is left out. */
export function written(rule: RuleDocument): RuleDocument {
  const { name, description, enabled, when, actions } = rule;
  const text = (value: string | null | undefined) => value?.trim() || undefined;
  const span = (value: number | null | undefined) => value || undefined;
  const all = {
    devices: text(rule.devices),
    condition: text(rule.condition),
    for_s: lasts(rule) ? span(rule.for_s) : undefined,
    until: lasts(rule) && kindOfWhen(rule.when) !== 'presence' ? text(rule.until) : undefined,
    quiet_s: span(rule.quiet_s),
  };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return { name: name.trim(), description: description.trim(), enabled, when, actions, ...given };
}

/** The same for a change of a rule: what is empty is taken away. */
export function edited(rule: RuleDocument): RuleDocument {
  const gone = { devices: null, condition: null, for_s: null, until: null, quiet_s: null };
  return { ...gone, ...written(rule) };
}

export function whenText(when: Record<string, unknown>): string {
  const kind = kindOfWhen(when);
  const of = when[kind] as Record<string, unknown> & string;
  switch (kind) {
    case 'metric':
      return `${of || 'a metric'} is measured`;
    case 'state':
      return `${of} changes`;
    case 'absence': {
      const what = typeof of.metric === 'string' && of.metric !== '' ? `no ${of.metric}` : 'nothing';
      return `${what} is heard for ${seconds(of.for_s)}`;
    }
    case 'presence':
      return of === 'online'
        ? 'a device comes online'
        : of === 'offline'
          ? 'a device is offline'
          : 'a device is unreachable';
    case 'schedule':
      return typeof of.every_s === 'number'
        ? `every ${seconds(of.every_s)}`
        : `it is ${String(of.cron)} (${String(of.zone ?? 'UTC')})`;
    case 'event':
      return String(of) === '*' ? 'any event is reported' : `${of || 'an event'} is reported`;
  }
}

export function actionText(action: Record<string, unknown>): string {
  const kind = kindOfAction(action);
  const of = action[kind] as Record<string, unknown>;
  switch (kind) {
    case 'alarm':
      return `raise a ${String(of.severity ?? 'warning')} alarm`;
    case 'desired':
      return `set ${String(of.path)} to ${typeof of.value === 'string' ? of.value : JSON.stringify(of.value)}`;
    case 'command':
      return `give the command ${String(of.name)}`;
    case 'publish':
      return `publish to ${String(of.topic)}`;
    case 'mail':
      return `mail to ${String(of.to)}`;
    case 'webhook':
      return 'call a webhook';
  }
}

/** The whole rule as one sentence. */
export function sentenceOf(rule: RuleDocument): string {
  const parts = [`When ${whenText(rule.when)}`];
  if (rule.devices) parts.push(`at ${rule.devices}`);
  if (rule.condition) parts.push(`if ${rule.condition}`);
  if (rule.for_s) parts.push(`for ${seconds(rule.for_s)}`);
  return `${parts.join(', ')}: ${rule.actions.map(actionText).join(', ')}.`;
}

/** Why a rule fired, in a few words. */
export function causeOf(trace: Trace): string {
  const { came } = trace;
  const value =
    came.value === undefined ? '' : typeof came.value === 'string' ? came.value : JSON.stringify(came.value);
  switch (came.kind) {
    case 'point':
      return `${came.metric ?? ''} = ${value}`;
    case 'state':
      return `${came.path ?? ''} = ${value}`;
    case 'absence':
      return came.metric ? `no ${came.metric}` : 'nothing was heard';
    case 'presence':
      return came.reach ?? '';
    case 'event':
      return `event ${came.name ?? ''}`;
    default:
      return 'by its schedule';
  }
}

/** Where in a rule a mistake is: «condition: column 9: …», «actions[0].alarm.message: column 4: …». */
export type RuleMistake = { field: string; why: string; position: number | null };
export function mistakeOf(problem: { detail: string; position?: number }): RuleMistake {
  const [, field, rest] = /^([a-z_]+(?:\[\d+\])?(?:\.[\w.]+)?): ([^]*)$/.exec(problem.detail) ?? [];
  if (field === undefined || rest === undefined) return { field: '', why: problem.detail, position: null };
  const [, column, why] = /^column (\d+): ([^]*)$/.exec(rest) ?? [];
  const position = column === undefined ? (problem.position ?? null) : Number(column);
  return { field, why: why ?? rest, position };
}

function seconds(count: unknown): string {
  return typeof count === 'number' ? spanText(count * 1000) : '…';
}
