//! Setting a new device up with a phone, against a virtual light that serves its calls over HTTP as a real one does: into
//! its Wi-Fi, tell it the Wi-Fi of the house, press its button, own it. And what is said when a step does not work.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { folder, openBrowser, startHub, startLight } from './programs.mjs';

const PASSWORD = 'a long enough password';
let data;
let hub;
let light;
let browser;
let phone;
let device;

const button = (name) => phone.page.getByRole('button', { name, exact: true });

before(async () => {
  data = await folder();
  hub = await startHub(data.path, ['--mdash', '127.0.0.1:0']);
  // Before the light is there: the phone finds nobody at its address.
  const vendor = await openBrowser();
  await vendor.page.goto(hub.setupLink);
  const made = await vendor.page.evaluate(
    async ([code, password]) => {
      const post = async (path, body, csrf) => {
        const headers = { 'content-type': 'application/json', ...(csrf ? { 'x-csrf-token': csrf } : {}) };
        const answer = await fetch(`/api/v1${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
        if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
        return answer.json();
      };
      const { csrf } = await post('/setup', { code, name: 'vendor', password });
      const light = { name: 'SN-7', dialect: 'mongoose', external_id: '5f0000000000000000000007' };
      return { device: await post('/devices', light, csrf), invited: await post('/invitations', {}, csrf) };
    },
    [new URL(hub.setupLink).hash.slice(1), PASSWORD],
  );
  await vendor.close();
  device = made.device;
  light = await startLight(hub, device.external_id, device.credential);
  browser = await openBrowser([`--host-resolver-rules=MAP 192.168.4.1:80 ${light.address}`]);
  phone = await browser.phone();
  await phone.page.goto(`http://${hub.http}/app/#code=${made.invited.code}`);
  await phone.page.getByLabel('Choose a name').fill('ada');
  await phone.page.getByLabel('Choose a password').fill(PASSWORD);
  await button('Make my account').click();
  await phone.page.getByText('No device yet').waitFor();
});

after(async () => {
  await browser?.close();
  await light?.stop();
  await hub?.stop();
  await data?.remove();
});

test('without power the device does not answer, and the app says what to look at', async () => {
  await phone.page.getByRole('link', { name: 'Set up a new device' }).click();
  light.say({ do: 'power_cut' });
  await light.fact('power_cut');
  await button('I am in its Wi-Fi').click();
  await phone.page
    .getByText('The device does not answer. Is the phone in the Wi-Fi of the device?')
    .waitFor();
  light.say({ do: 'power_on' });
  await light.fact('boot');
});

test('three steps and a press of its button make it the customer’s', async () => {
  await button('I am in its Wi-Fi').click();
  await phone.page.getByText(device.external_id).waitFor();
  await phone.page.getByLabel('Name of the Wi-Fi').fill('Home');
  await phone.page.getByLabel('Password of the Wi-Fi').fill('short');
  await button('Tell the device').click();
  await phone.page.getByText('The password of a Wi-Fi has 8 to 63 characters').waitFor();
  await phone.page.getByLabel('Password of the Wi-Fi').fill('a good password');
  const online = light.fact('online');
  await button('Tell the device').click();
  await phone.page.getByText('Make it yours').waitFor();
  await online;
  assert.equal(await phone.page.getByLabel('Id on the label of the device').inputValue(), device.external_id);
  await button('I will press its button').click();
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
