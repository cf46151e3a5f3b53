//! A rule in the dashboard: written as a sentence, its mistake shown in its place, tried on what was measured, turned on;
//! and the alarm that it raises is seen, acknowledged and cleared.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMqtt } from './mqtt.mjs';
import {
  api,
  begin,
  button,
  follow,
  goto,
  heading,
  hub,
  nothingWentWrong,
  openDevice,
  page,
  row,
  shoot,
} from './stage.mjs';

const HOUR = 3_600_000;
let board;
let device;

begin({ prepare });

/** A sensor with twenty hours of waves: warm four times. */
async function prepare() {
  device = await api('POST', '/devices', {
    name: 'Greenhouse',
    dialect: 'native',
    external_id: 'greenhouse',
    tags: ['garden'],
  });
  const { id } = device;
  board = await connectMqtt(hub.mqtt, {
    clientId: id,
    user: id,
    password: device.credential,
  });
  const now = Date.now();
  const points = Array.from({ length: 240 }, (_, i) => ({
    ts: now - 20 * HOUR + i * 300_000,
    temperature: Number((24 + 9 * Math.sin(i / 12)).toFixed(2)),
  }));
  await board.publish(`devices/${id}/telemetry`, JSON.stringify(points));
}

const measure = (temperature) =>
  board.publish(`devices/${device.id}/telemetry`, JSON.stringify({ temperature }));
const field = (name) => page.getByLabel(name, { exact: true });

test('a rule is written as a sentence, and a mistake is shown in its place', async () => {
  await follow('Rules');
  await page.getByText('No rules yet').waitFor();
  await button('New rule').first().click();
  await heading('New rule');
  await field('Name').fill('Too warm');
  await field('Metric').fill('temperature');
  await field('If (optional)').fill('value > limit');
  await page.getByText('there is no limit').waitFor();
  assert.equal(await page.locator('mark').textContent(), 'l');
  assert.ok(await button('Save').isDisabled());
  await field('If (optional)').fill('value > 30');
  await page.getByText('there is no limit').waitFor({ state: 'hidden' });
  await field('For (optional)').fill('10 min');
  await field('Severity').selectOption('critical');
  await field('Message').fill('{{ device.name }} has {{ value }} °C');
  await page
    .getByText('When temperature is measured, if value > 30, for 10 min: raise a critical alarm.')
    .waitFor();
});

test('it is tried on the last days before it is on', async () => {
  await button('Try on the last 7 days').click();
  await page.getByText('It would have fired 4 times.').waitFor();
  await page.getByRole('img', { name: '4 firings of 1 devices' }).waitFor();
  await page.getByRole('button', { name: 'Trace' }).first().click();
  await page.getByText('"condition": "value > 30"').waitFor();
  await shoot('rule-replay');
  await field('For (optional)').fill('');
  await field('For (optional)').blur();
  await page.getByRole('switch', { name: 'On' }).click();
  await button('Save').click();
  await heading('Too warm');
  await page.getByText('It has not fired yet').waitFor();
});

test('the alarm that it raises is counted, acknowledged and cleared', async () => {
  await measure(20);
  await measure(33.5);
  const count = page.getByRole('navigation', { name: 'Main' }).locator('.count');
  await count.getByText('1').waitFor();
  await follow('Rules');
  await row('Too warm').getByText('1', { exact: true }).waitFor();
  await shoot('rules');
  await page.getByRole('link', { name: /^Alarms/ }).click();
  await heading('Alarms');
  const alarm = row('Greenhouse has 33.5 °C');
  await alarm.getByText('Critical').waitFor();
  await shoot('alarms');
  await button('Acknowledge', alarm).click();
  await alarm.getByText('by ada').waitFor();
  await count.waitFor({ state: 'hidden' });
  await openDevice('Greenhouse');
  await row('Greenhouse has 33.5 °C').getByText('acknowledged').waitFor();
  await measure(21);
  await row('Greenhouse has 33.5 °C').waitFor({ state: 'hidden' });
  await goto('/alarms');
  await page.getByText('No alarms').waitFor();
  await button('Show the history').click();
  await row('Greenhouse has 33.5 °C').getByText('by rule Too warm').waitFor();
});

test('a firing has its trace, and a rule is turned off', async () => {
  await follow('Rules');
  await page.getByRole('link', { name: 'Too warm' }).click();
  await heading('Too warm');
  await row('temperature = 33.5').waitFor();
  await shoot('rule');
  await follow('Rules');
  await page.getByRole('switch', { name: 'Too warm is on' }).click();
  await page.getByText('Too warm is off.').waitFor();
  board.close();
});

test('a rule calls a webhook, which is chosen by its name', async () => {
  const { id } = await api('POST', '/webhooks', { name: 'chat', url: 'https://chat.example/hook', changes: [] });
  await follow('Rules');
  await button('New rule').first().click();
  await heading('New rule');
  await field('Name').fill('Call');
  await field('Metric').fill('temperature');
  await field('Then').selectOption('webhook');
  await field('Webhook').selectOption('chat');
  await shoot('rule-webhook');
  await button('Save').click();
  await heading('Call');
  const { items } = await api('GET', '/rules');
  const call = items.find(({ name }) => name === 'Call');
  assert.deepEqual((await api('GET', `/rules/${call.id}`)).actions, [{ webhook: id }]);
});

nothingWentWrong((wrong) => wrong.includes('400'));
