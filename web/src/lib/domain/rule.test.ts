import { expect, test } from 'vitest';
import { causeOf, edited, mistakeOf, newRule, sentenceOf, written } from './rule';

const rule = {
  ...newRule(),
  name: ' Hot ',
  when: { metric: 'temperature' },
  for_s: 600,
  devices: 'tag=kitchen',
  actions: [{ alarm: { severity: 'critical', message: 'm' } }, { desired: { path: 'fan.on', value: true } }],
};

test('a rule reads as a sentence', () => {
  expect(sentenceOf(rule)).toBe(
    'When temperature is measured, at tag=kitchen, if value > 30, for 10 min: raise a critical alarm, set fan.on to true.',
  );
  const schedule = {
    ...rule,
    when: { schedule: { every_s: 3600 } },
    devices: null,
    condition: '',
    for_s: null,
  };
  expect(sentenceOf(schedule)).toMatch(/^When every 1 h: /);
});

test('what is empty is left out, or taken away from what was there', () => {
  const empty = { ...rule, devices: ' ', condition: '', until: 'value < 1', quiet_s: 0 };
  expect(written(empty)).toEqual({
    name: 'Hot',
    description: '',
    enabled: false,
    when: rule.when,
    actions: rule.actions,
  });
  expect(edited(empty)).toMatchObject({ condition: null, for_s: null, until: null, devices: null });
});

test('a mistake is in a field, at a column', () => {
  const cases: [string, string, number | null][] = [
    ['condition: column 9: there is no x', 'condition', 9],
    ['actions[0].alarm.message: column 4: there is no x', 'actions[0].alarm.message', 4],
    ['when.state: a path begins with reported', 'when.state', null],
    ['the disk is full', '', null],
  ];
  for (const [detail, field, position] of cases)
    expect(mistakeOf({ detail })).toMatchObject({ field, position });
});

test('a trace says why in a few words', () => {
  const trace = { previous: null, condition: null, metrics: {}, since: null, actions: [] };
  expect(causeOf({ ...trace, came: { kind: 'point', metric: 't', value: 31 } })).toBe('t = 31');
  expect(causeOf({ ...trace, came: { kind: 'presence', reach: 'offline' } })).toBe('offline');
});
