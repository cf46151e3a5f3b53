//! The shadow of a device in a real browser: controls are made from what the device reports, a wish is pending until
//! the device reports it, a lamp that was away takes what was wished meanwhile, and a second page sees it all.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMqtt } from './mqtt.mjs';
import { api, begin, goto, hub, nothingWentWrong, page, shoot } from './stage.mjs';

const LAMP = { name: 'Hall lamp', dialect: 'native', external_id: 'lamp-1' };
const REPORTED = { on: false, brightness: 40, colour: '#ffcc00', mode: 'warm', target: 21.5, scenes: [1, 2] };

let lamp;
let id;
let credential;

begin({ prepare });

async function prepare() {
  ({ id, credential } = await api('POST', '/devices', LAMP));
}

const card = (on = page) => on.getByRole('region', { name: 'Shadow', exact: true });
const row = (name, on = page) => card(on).getByRole('row').filter({ hasText: name });
const control = (name, on = page) => card(on).getByLabel(`Desired ${name}`, { exact: true });
const report = (state) =>
  lamp.publish('devices/lamp-1/shadow', JSON.stringify({ state: { reported: state } }));

test('controls are made from what the device reports', async () => {
  await goto(`/devices/${id}`);
  await card().getByText('Nothing desired or reported yet').waitFor();
  lamp = await connectMqtt(hub.mqtt, { clientId: 'lamp-1', user: 'lamp-1', password: credential });
  await lamp.subscribe('devices/lamp-1/delta');
  await report(REPORTED);
  assert.equal(await control('on').getAttribute('aria-checked'), 'false');
  assert.equal(await control('brightness').getAttribute('type'), 'range');
  assert.equal(await control('colour').getAttribute('type'), 'color');
  assert.equal(await control('target').getAttribute('type'), 'number');
  assert.equal(await control('mode').inputValue(), 'warm');
  assert.equal(await control('scenes').inputValue(), '[1,2]');
});

test('a wish is pending until the device reports it, also on a second page', async () => {
  const second = await page.context().newPage();
  await second.goto(page.url());
  await control('on', second).waitFor();
  await control('on').click();
  assert.deepEqual((await lamp.message('/delta')).state, { on: true });
  await row('on').getByText('Pending').waitFor();
  await row('on', second).getByText('Pending').waitFor();
  await shoot('shadow-pending');
  await report({ on: true });
  for (const each of [page, second]) {
    await row('on', each).getByText('Pending').waitFor({ state: 'detached' });
    await row('on', each).getByText('true', { exact: true }).waitFor();
  }
  await second.close();
});

test('a lamp that was away takes what was wished meanwhile', async () => {
  lamp.close();
  await page.getByText('Offline', { exact: true }).first().waitFor();
  await card().getByLabel('Name of the wish').fill('night.level');
  await card().getByLabel('Value of the wish').fill('5');
  await card().getByRole('button', { name: 'Wish' }).click();
  await row('night.level').getByText('Pending').waitFor();
  lamp = await connectMqtt(hub.mqtt, { clientId: 'lamp-1', user: 'lamp-1', password: credential });
  await lamp.subscribe('devices/lamp-1/delta');
  assert.deepEqual((await lamp.message('/delta')).state, { night: { level: 5 } });
  await report({ night: { level: 5 } });
  await row('night.level').getByText('Pending').waitFor({ state: 'detached' });
});

test('desired, reported and delta stand side by side', async () => {
  await control('mode').fill('cold');
  await control('mode').press('Tab');
  await row('mode').getByText('Pending').waitFor();
  await card().getByRole('button', { name: 'Document' }).click();
  const part = async (name) =>
    JSON.parse(await card().getByRole('region', { name, exact: true }).locator('pre').innerText());
  assert.deepEqual(await part('Delta'), { mode: 'cold' });
  assert.equal((await part('Desired')).mode, 'cold');
  assert.equal((await part('Reported')).mode, 'warm');
  await shoot('shadow-document');
  await card().getByRole('button', { name: 'Controls' }).click();
});

test('it fits a phone', async () => {
  await shoot('shadow-controls');
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `the page is ${wide} px wide`);
});

nothingWentWrong();
