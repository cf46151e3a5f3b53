//! Tests of sentence: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import type { Change } from '../api/contract';
import { sentenceOf } from './sentence';

function told(change: Partial<Change>, times?: number): string {
  const whole = {
    seq: 1,
    time: '2026-11-21T02:30:00.000Z',
    actor: { kind: 'user', name: 'ada' },
    kind: 'device_edited',
    noun: 'device',
    subject: 'd1',
    subject_name: 'Lamp',
    ...change,
  } satisfies Change;
  const sentence = sentenceOf(whole, times);
  const words = `${sentence.who} ${sentence.before}${sentence.what}${sentence.after}`.trim();
  return sentence.tail === '' ? words : `${words} → ${sentence.tail}`;
}

test.each<[string, Partial<Change>]>([
  ['ada edited Lamp', {}],
  ['Lamp came online', { kind: 'device_online', actor: { kind: 'device', name: 'Lamp' } }],
  ['ada assigned Blink to Lamp', { kind: 'script_assigned', after: { script: 's', name: 'Blink' } }],
  [
    'Lamp, update → Failed: boot loop',
    { kind: 'task_moved', noun: 'deployment', after: { state: 'Failed', reason: 'boot loop' } },
  ],
  [
    'Lamp, update → Rolled back',
    { kind: 'task_moved', noun: 'deployment', after: { state: 'RolledBack', reason: null } },
  ],
  [
    'Motehub started the deployment to 3 devices',
    {
      kind: 'deployment_started',
      noun: 'deployment',
      subject: 'x',
      subject_name: 'x',
      after: { devices: 3 },
      actor: { kind: 'system', name: 'motehub' },
    },
  ],
  ['eve did not get in', { kind: 'login_failed', noun: 'login', subject: 'eve', subject_name: 'eve' }],
  [
    'ada saved a version of Blink → version 4',
    { kind: 'version_saved', noun: 'script', subject_name: 'Blink', after: { version: 4 } },
  ],
  [
    'Motehub moved steps of the flow climate → 2 steps: bench-2 went away',
    {
      kind: 'flow_placed',
      noun: 'flow',
      subject_name: 'climate',
      actor: { kind: 'system', name: 'motehub' },
      after: { cause: 'bench-2 went away', moved: 2, steps: ['warm', 'both'] },
    },
  ],
  [
    'ada deployed the flow climate → version 2',
    { kind: 'flow_deployed', noun: 'flow', subject_name: 'climate', after: { version: 2 } },
  ],
  ['ada a new kind: Lamp', { kind: 'a_new_kind' }],
])('%s', (sentence, change) => {
  expect(told(change)).toBe(sentence);
});

test('what is gone has no link, a moved task leads to its device', () => {
  const base = {
    seq: 1,
    time: '',
    actor: { kind: 'user', name: 'ada' },
    subject: 'd1',
    subject_name: 'Lamp',
  } as const;
  expect(sentenceOf({ ...base, kind: 'device_deleted', noun: 'device' }).href).toBeNull();
  expect(sentenceOf({ ...base, kind: 'task_moved', noun: 'deployment', device: 'd/9' }).href).toBe(
    '/devices/d%2F9',
  );
});

test.each<[string, string, number]>([
  ['Lamp was away and came back', 'device_online', 2],
  ['Lamp came online and went offline', 'device_offline', 2],
  ['Lamp came and went 7 times, and is online', 'device_online', 7],
])('%s', (sentence, kind, times) => {
  expect(told({ kind, actor: { kind: 'device', name: 'Lamp' } }, times)).toBe(sentence);
});
