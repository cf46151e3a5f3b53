//! Setting a new device up with a phone, against a virtual light that serves its calls over HTTP as a real one does: into
//! its Wi-Fi, tell it the Wi-Fi of the house, press its button, own it. And what is said when a step does not work.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openBrowser, startLight } from './programs.mjs';
import { PASSWORD, api, begin, button, hub, nothingWentWrong } from './stage.mjs';

let light;
let phone;
let device;

begin({ serve: ['--mdash', '127.0.0.1:0'], prepare });

async function prepare() {
  const made = { name: 'SN-7', dialect: 'mongoose', external_id: '5f0000000000000000000007' };
  device = await api('POST', '/devices', made);
  const { code } = await api('POST', '/invitations', {});
  light = await startLight(hub, device.external_id, device.credential);
  // The phone finds the light where a real one has its Wi-Fi.
  phone = await (await openBrowser([`--host-resolver-rules=MAP 192.168.4.1:80 ${light.address}`])).phone();
  await phone.page.goto(`http://${hub.http}/app/#code=${code}`);
  await phone.page.getByLabel('Choose a name').fill('bo');
  await phone.page.getByLabel('Choose a password').fill(PASSWORD);
  await button('Make my account', phone.page).click();
  await phone.page.getByText('No device yet').waitFor();
}

test('without power the device does not answer, and the app says what to look at', async () => {
  await phone.page.getByRole('link', { name: 'Set up a new device' }).click();
  const gone = light.fact('power_cut');
  light.say({ do: 'power_cut' });
  await gone;
  await button('I am in its Wi-Fi', phone.page).click();
  await phone.page
    .getByText('The device does not answer. Is the phone in the Wi-Fi of the device?')
    .waitFor();
  const back = light.fact('boot');
  light.say({ do: 'power_on' });
  await back;
});

test('three steps and a press of its button make it the customer’s', async () => {
  await button('I am in its Wi-Fi', phone.page).click();
  await phone.page.getByText(device.external_id).waitFor();
  await phone.page.getByLabel('Name of the Wi-Fi').fill('Home');
  await phone.page.getByLabel('Password of the Wi-Fi').fill('short');
  await button('Tell the device', phone.page).click();
  await phone.page.getByText('The password of a Wi-Fi has 8 to 63 characters').waitFor();
  await phone.page.getByLabel('Password of the Wi-Fi').fill('a good password');
  const online = light.fact('online');
  await button('Tell the device', phone.page).click();
  await phone.page.getByText('Make it yours').waitFor();
  await online;
  assert.equal(await phone.page.getByLabel('Id on the label of the device').inputValue(), device.external_id);
  await button('I will press its button', phone.page).click();
  await phone.page.getByText('Press the button of the device now.').waitFor();
  light.say({ do: 'press' });
  await phone.page.getByRole('heading', { name: 'SN-7', level: 1 }).waitFor();
  await phone.page.getByText('Online', { exact: true }).waitFor();
});

test('it does what the phone says', async () => {
  const toggle = phone.page.getByRole('switch').first();
  const was = await toggle.getAttribute('aria-checked');
  const switched = light.fact('switched');
  await toggle.click();
  await switched;
  const now = was === 'true' ? 'false' : 'true';
  await phone.page.locator(`[role=switch][aria-checked="${now}"]:not([aria-busy])`).first().waitFor();
});
