//! Tests of state: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import { isAtLeast } from './access';
import { chipIdProblem, configLines, configText } from './board';
import { badgeOfDevice, endedOf, sharesOf, stepsOf } from './state';

test('a progress bar has only the parts that exist, the good ones first', () => {
  const shares = sharesOf({ Waiting: 1, Done: 2, Failed: 1, Offered: 0 });
  expect(shares.map((share) => [share.state, share.percent])).toEqual([
    ['Done', 50],
    ['Waiting', 25],
    ['Failed', 25],
  ]);
  expect(sharesOf({ Done: 0 })).toEqual([]);
});

test('a failed task has ended as well as a done one', () => {
  expect(endedOf({ Done: 3, Failed: 2, Cancelled: 1, Waiting: 9, Applying: 4 })).toBe(6);
});

test('steps up to the present one are reached', () => {
  const reached = stepsOf('Fetching')
    .filter((step) => step.reached)
    .map((step) => step.state);
  expect(reached).toEqual(['Waiting', 'Offered', 'Fetching']);
  expect(stepsOf('Failed').some((step) => step.reached)).toBe(false);
});

test('a failing device is shown as failing', () => {
  expect(badgeOfDevice({ state: 'failing' })).toEqual({ tone: 'bad', text: 'Failing' });
});

test('each role includes those below it', () => {
  expect(isAtLeast('admin', 'engineer')).toBe(true);
  expect(isAtLeast('manager', 'engineer')).toBe(false);
  expect(isAtLeast('viewer', 'viewer')).toBe(true);
});

test('the lines of config.txt hold the secret path and the MQTT login', () => {
  const text = configText(configLines('10.0.0.5:8080', '1883', '10801015', 'S3cret'));
  expect(text).toBe(
    'domain=10.0.0.5:8080/d/S3cret\nmqttbroker=10.0.0.5\nmqttport=1883\nmqttuser=10801015\nmqttpass=S3cret\n',
  );
});

test.each([
  ['', true],
  ['12x', true],
  ['4294967296', true],
  ['4294967295', false],
  ['10801015', false],
])('chip id «%s» is refused: %s', (text, refused) => expect(chipIdProblem(text) !== null).toBe(refused));
