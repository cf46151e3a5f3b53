//! The phone app on two phones, against the real hub and a light that speaks MQTT: sign up with the code of a device,
//! switch, what waits, the second phone, sharing until a time, looking only, taking back, giving back; and that it is
//! an app: a manifest, a service worker, a shell that opens without network.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectMqtt } from './mqtt.mjs';
import { PASSWORD, api, begin, browser, button, heading, hub, nothingWentWrong } from './stage.mjs';

const LIGHT = 'light-0001';
/** A second phone shows a change within this, from when the hub has it. */
const SEEN_WITHIN_MS = 300;
const TOGGLES_MAX = 40;
/** Longer than a slow machine takes to share it. */
const SHARED_FOR_MS = 5_000;
let base;
let light;
let device;
let ada;
let bo;

begin({ account: 'vendor', prepare });

/** A light: it does what is desired, and says so. */
async function startLight(credential) {
  const link = await connectMqtt(hub.mqtt, { clientId: LIGHT, user: LIGHT, password: credential });
  await link.subscribe(`devices/${LIGHT}/delta`);
  const report = (on) =>
    link.publish(`devices/${LIGHT}/shadow`, JSON.stringify({ state: { reported: { on } } }));
  await report(false);
  return {
    /** Waits for what is desired, and does it. */
    obey: async () => {
      const { state } = await link.message('/delta');
      await report(state.on);
      return state.on;
    },
    close: link.close,
  };
}

async function prepare() {
  base = `http://${hub.http}`;
  device = await api('POST', '/devices', { name: 'SN-0001', dialect: 'native', external_id: LIGHT });
  light = await startLight(device.credential);
  ada = await browser.phone();
  bo = await browser.phone();
}

const toggle = (phone, name) => phone.page.getByRole('switch', { name });
const isOn = (phone, name, on) =>
  phone.page.locator(`[role=switch][aria-label="${name}"][aria-checked="${on}"]:not([aria-busy])`).waitFor();

async function signUp(phone, code, name) {
  await phone.page.goto(`${base}/app/#code=${code}`);
  await heading('Welcome', phone.page);
  await phone.page.getByLabel('Choose a name').fill(name);
  await phone.page.getByLabel('Choose a password').fill(PASSWORD);
  await button('Make my account', phone.page).click();
}

test('the QR code of a device is a link with which one signs up and owns it', async () => {
  const { code, link } = await api('POST', `/devices/${device.id}/claim-code`);
  assert.equal(link, `${base}/app/#code=${code}`);
  await signUp(ada, 'ABCD-EFGH-IJKM-NPQR', 'ada');
  await ada.page.getByText('this code is wrong, used or expired').waitFor();
  await ada.page.getByLabel('Code', { exact: true }).fill(code.toLowerCase());
  await button('Make my account', ada.page).click();
  await heading('My devices', ada.page);
  await ada.page.getByText('SN-0001').waitFor();
  await ada.page.getByText('online', { exact: true }).waitFor();
  assert.equal(new URL(ada.page.url()).hash, '', 'the code does not stay in the address');
});

test('a switch waits until the device has done it', async () => {
  await isOn(ada, 'SN-0001', false);
  await toggle(ada, 'SN-0001').click();
  await ada.page.getByText('Waiting for the device…').waitFor();
  await ada.page.locator('[role=switch][aria-checked=true][aria-busy=true]').waitFor();
  assert.equal(await light.obey(), true);
  await isOn(ada, 'SN-0001', true);
});

test('the owner names it and shares it with another phone, to control', async () => {
  await ada.page.getByRole('link', { name: 'SN-0001' }).click();
  await heading('SN-0001', ada.page);
  await ada.page.getByLabel('Its name').fill('Kitchen light');
  await button('Rename', ada.page).click();
  await heading('Kitchen light', ada.page);
  await ada.page.getByRole('link', { name: 'Share it' }).click();
  await heading('Share Kitchen light', ada.page);
  await button('Make an invitation instead', ada.page).click();
  const link = await ada.page.getByRole('dialog').locator('code').last().textContent();
  await button('Done', ada.page).click();
  await signUp(bo, link.split('#code=')[1], 'bo');
  await heading('My devices', bo.page);
  await isOn(bo, 'Kitchen light', true);
  const shares = await api('GET', `/devices/${device.id}/shares`);
  assert.deepEqual(
    shares.items.map((share) => [share.user_name, share.right, share.name]),
    [
      ['ada', 'owner', null],
      ['bo', 'control', null],
    ],
  );
});

/** The first phone switches; how many milliseconds after the hub knows that it is done the second one shows it. */
async function seenAfter(on) {
  await bo.page.evaluate((on) => {
    const isSeen = () =>
      document.querySelector(`[role=switch][aria-checked="${on}"]:not([aria-busy])`) !== null;
    window.seenAt = new Promise((resolve) => {
      new MutationObserver(() => isSeen() && resolve(Date.now())).observe(document.body, {
        subtree: true,
        childList: true,
        attributes: true,
      });
    });
  }, on);
  await ada.page.evaluate(() => document.querySelector('[role=switch]').click());
  assert.equal(await light.obey(), on);
  const knownAt = Date.now();
  const seenAt = await bo.page.evaluate(() => window.seenAt);
  await isOn(ada, 'Kitchen light', on);
  return Math.max(0, seenAt - knownAt);
}

test('the second phone sees a change within 300 ms', async () => {
  await ada.page.goto(`${base}/app/`);
  await isOn(ada, 'Kitchen light', true);
  const took = [];
  let on = true;
  // A machine that has much else to do may be late, but not always.
  do {
    on = !on;
    took.push(await seenAfter(on));
  } while (on || (took.length < TOGGLES_MAX && Math.min(...took) >= SEEN_WITHIN_MS));
  console.log(`the second phone saw it after ${took.join(', ')} ms`);
  assert.ok(Math.min(...took) < SEEN_WITHIN_MS, `${took} ms`);
});

test('who only looks cannot switch, and loses the device when the time is over', async () => {
  const user = (await api('GET', `/devices/${device.id}/shares`)).items[1].user;
  await ada.page.getByRole('link', { name: 'Kitchen light' }).click();
  await ada.page.getByRole('link', { name: 'Share it' }).click();
  await ada.page.getByLabel('What they may do').selectOption('view');
  await ada.page.getByLabel('Name of the other person').fill('bo');
  await button('Share', ada.page).click();
  await ada.page.getByText('may look').waitFor();
  await bo.page.locator('[role=switch][disabled]').waitFor();
  await bo.page.getByRole('link', { name: 'Kitchen light' }).click();
  await bo.page.getByText('shared it with you to look at').waitFor();
  const refused = await bo.page.evaluate(async (device) => {
    const { csrf } = await (await fetch('/api/v1/me')).json();
    const body = JSON.stringify({ state: { desired: { on: true } } });
    const headers = { 'content-type': 'application/json', 'x-csrf-token': csrf };
    return (await fetch(`/api/v1/devices/${device}/shadow`, { method: 'PATCH', headers, body })).status;
  }, device.id);
  assert.equal(refused, 403);
  const until = String(Date.now() + SHARED_FOR_MS);
  await api('POST', `/devices/${device.id}/shares`, { user: 'bo', right: 'view', until });
  await bo.page.getByText('No device yet').waitFor();
  assert.ok(Date.now() >= Number(until), 'not before its time');
  await api('POST', `/devices/${device.id}/shares`, { user: 'bo', right: 'control' });
  await bo.page.getByText('Kitchen light').first().waitFor();
  assert.ok(user.length > 10);
});

test('each phone lists who switched it since the device is shared with it', async () => {
  const listed = (phone) => phone.page.getByRole('region', { name: 'Who switched it' }).getByRole('listitem');
  await api('PATCH', `/devices/${device.id}/shadow`, { state: { desired: { on: true } } });
  assert.equal(await light.obey(), true);
  await api('PATCH', `/devices/${device.id}/shadow`, { state: { desired: { on: false } } });
  assert.equal(await light.obey(), false);
  for (const phone of [ada, bo]) {
    await phone.page.goto(`${base}/app/#/device/${device.id}`);
    await listed(phone).nth(1).filter({ hasText: 'Switched on by the vendor' }).waitFor();
    assert.match(await listed(phone).nth(0).textContent(), /^Switched off by the vendor/);
  }
  assert.match(await listed(ada).nth(2).textContent(), /^Switched off by you/);
  await ada.page.goto(`${base}/app/#/device/${device.id}/share`);
  await heading('Share Kitchen light', ada.page);
});

test('the owner takes it back, and the other phone loses it at once', async () => {
  await ada.page.reload();
  await ada.page.getByRole('button', { name: 'Take back' }).click();
  await bo.page.getByText('No device yet').waitFor();
});

test('what is switched while the device is away waits for it', async () => {
  light.close();
  await ada.page.goto(`${base}/app/#/device/${device.id}`);
  await ada.page.getByText('What you switch now happens when it is back.').waitFor();
  await toggle(ada, 'Kitchen light: on').click();
  await ada.page.getByText('When the device is back').waitFor();
  const { credential } = await api('POST', `/devices/${device.id}/credential`);
  light = await startLight(credential);
  assert.equal(await light.obey(), true);
  await isOn(ada, 'Kitchen light: on', true);
});

test('it is an app: installable, and its shell opens without network', async () => {
  const wrong = await ada.installability();
  assert.deepEqual(wrong, [], 'nothing keeps it from being installed');
  const scope = await ada.page.evaluate(async () => (await navigator.serviceWorker.ready).scope);
  assert.equal(scope, `${base}/app/`);
  await ada.page.goto(`${base}/app/`);
  await isOn(ada, 'Kitchen light', true);
  await ada.page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await ada.offline(true);
  await ada.page.goto(`${base}/app/`);
  await ada.page.getByText('Offline.').waitFor();
  await ada.page.getByText('Kitchen light').waitFor();
  await ada.page.locator('[role=switch][disabled]').waitFor();
  await ada.offline(false);
  await ada.page.getByText('Offline.').waitFor({ state: 'detached' });
});

test('given back, it is nobody’s, and its new code makes another owner', async () => {
  await ada.page.goto(`${base}/app/#/device/${device.id}`);
  await button('Give it back…', ada.page).click();
  await button('Give it back', ada.page).click();
  await ada.page.getByText('It is not yours any more').waitFor();
  const code = await ada.page.getByRole('dialog').locator('code').first().textContent();
  await button('Done', ada.page).click();
  await ada.page.getByText('No device yet').waitFor();
  await bo.page.goto(`${base}/app/#/claim`);
  await bo.page.getByLabel('Code of the device or invitation').fill(code);
  await button('Add it', bo.page).click();
  await heading('SN-0001', bo.page);
  await button('Give it back…', bo.page).waitFor();
});

// What was refused on purpose, and what the network said while there was none.
nothingWentWrong(
  (wrong) => /Failed to load resource|ERR_INTERNET_DISCONNECTED|WebSocket connection/.test(wrong),
  () => [...browser.wrongs, ...ada.wrongs, ...bo.wrongs],
);
