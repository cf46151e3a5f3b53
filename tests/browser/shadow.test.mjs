//! The shadow of a device in a real browser: controls are made from what the device reports, a wish is pending until
//! the device reports it, a lamp that was away takes what was wished meanwhile, a second page sees it all, and the history
//! leads back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMqtt } from './mqtt.mjs';
import { api, begin, dialog, goto, hub, nothingWentWrong, page, shoot } from './stage.mjs';

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

test('the history says who changed what and when, and what was desired comes back', async () => {
  const revision = (text) => card().getByRole('listitem').filter({ hasText: text });
  await card().getByRole('button', { name: 'History' }).click();
  await revision('desired.mode').first().waitFor();
  const newest = await card().getByRole('listitem').first().innerText();
  assert.match(newest, /^ada/);
  assert.match(newest, /desired\.mode\s+cold/);
  const wished = revision('desired.night.level').first();
  assert.match(await wished.innerText(), /user · version \d+/);
  await wished.getByText('All of it').click();
  const then = wished.getByRole('region', { name: 'Desired' });
  assert.deepEqual(JSON.parse(await then.locator('pre').innerText()), { on: true, night: { level: 5 } });
  await shoot('shadow-history');
  await wished.getByRole('button', { name: 'Restore what was desired' }).click();
  await dialog().getByRole('button', { name: 'Restore', exact: true }).click();
  await card().getByRole('listitem').first().locator('del').getByText('cold').waitFor();
  await card().getByRole('button', { name: 'Controls' }).click();
  await row('mode').getByText('Pending').waitFor({ state: 'detached' });
});

test('the history knows what was at a time', async () => {
  await card().getByRole('button', { name: 'History' }).click();
  const at = card().getByLabel('As it was at');
  const show = card().getByRole('button', { name: 'Show', exact: true });
  await at.fill('2020-01-01T00:00:00');
  await show.click();
  await card().getByText('There was nothing yet').waitFor();
  await at.fill('2100-01-01T00:00:00');
  await show.click();
  const then = card().getByRole('region', { name: 'As it was' });
  await then.getByText(/Version \d+, made .* by ada/).waitFor();
  await card().getByRole('button', { name: 'Controls' }).click();
});

test('it fits a phone', async () => {
  await shoot('shadow-controls');
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `the page is ${wide} px wide`);
});

nothingWentWrong((wrong) => /404.*shadow\/at/.test(wrong));
