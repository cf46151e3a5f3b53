//! A working day in a real browser, against the real hub: a board that nobody registered is let in, a table of
//! boards is imported, devices are tagged together, and a command is sent and taken back.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { connectMqtt } from './mqtt.mjs';
import { folder, openBrowser, startHub } from './programs.mjs';

const NAME = 'ada';
const PASSWORD = 'a long enough password';
const STRANGER = 'cellar-1';
const DEVICE = 'Cellar pump';
const TABLE = `name,dialect,external_id,tags
Hall 1,native,hall-1,hall
Hall 2,native,hall-1,hall
Hall 3,fortran,hall-3,hall
Hall 4,native,hall-4,"hall, stairs"
`;
/** CONNACK of MQTT 3.1.1: bad user name or password. */
const REFUSED = 4;

let data;
let hub;
let browser;
let page;
let device;
let credential;

before(async () => {
  data = await folder();
  hub = await startHub(data.path);
  browser = await openBrowser();
  page = browser.page;
  page.setDefaultTimeout(15_000);
  await page.goto(hub.setupLink);
  await heading('Welcome to Motehub');
  await page.getByLabel('Your name').fill(NAME);
  await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('New password again').fill(PASSWORD);
  await button('Make the account').click();
  await heading('Overview');
});

after(async () => {
  device?.close();
  await browser?.close();
  await hub?.stop();
  await data?.remove();
});

const button = (name) => page.getByRole('button', { name, exact: true });
const heading = (name) => page.getByRole('heading', { name, exact: true, level: 1 }).waitFor();
const inDialog = () => page.getByRole('dialog');
const row = (name) => page.getByRole('row').filter({ hasText: name });

async function openPage(name) {
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true }).click();
  await heading(name);
}

/** Presses, and gives the text of the file that the browser saves then. */
async function saved(pressed) {
  const [download] = await Promise.all([page.waitForEvent('download'), pressed.click()]);
  return readFile(await download.path(), 'utf8');
}

test('who knocks stands in the inbox, and is accepted with a credential', async () => {
  await openPage('Devices');
  await page.getByRole('link', { name: /^Inbox/ }).click();
  await heading('Inbox');
  await page.getByText('Nobody waits').waitFor();
  const stranger = await connectMqtt(hub.mqtt, {
    clientId: STRANGER,
    user: STRANGER,
    password: 'guessed',
  });
  stranger.close();
  assert.equal(stranger.code, REFUSED);

  await row(STRANGER).getByRole('button', { name: 'Accept…' }).click();
  await inDialog().getByLabel('Name').fill(DEVICE);
  await inDialog().getByLabel('Dialect').selectOption('native');
  await inDialog().getByLabel('Tags').fill('cellar');
  await inDialog().getByRole('button', { name: 'Accept' }).click();
  const config = inDialog().locator('[data-part="config"]');
  await config.waitFor();
  credential = JSON.parse(await config.innerText()).credential;
  await inDialog().getByRole('button', { name: 'Done' }).click();
  await page.getByText('Nobody waits').waitFor();

  device = await connectMqtt(hub.mqtt, {
    clientId: STRANGER,
    user: STRANGER,
    password: credential,
  });
  assert.equal(device.code, 0, 'the credential that was shown lets the device in');
});

test('who is refused is not listed again, until it is taken out of the inbox', async () => {
  await page.goto(`http://${hub.http}/inbox`);
  const knock = async () =>
    (
      await connectMqtt(hub.mqtt, {
        clientId: 'eve',
        user: 'eve',
        password: 'x',
      })
    ).close();
  await knock();
  await row('eve').getByRole('button', { name: 'Refuse…' }).click();
  await inDialog().getByRole('button', { name: 'Refuse', exact: true }).click();
  await page.getByText('Nobody waits').waitFor();
  await button('Refused').click();
  await row('eve').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('Nobody is refused').waitFor();
  await button('Waiting').click();
  await page.getByText('Nobody waits').waitFor();
  await knock();
  await row('eve').waitFor();
});

test('a table is looked at before it is imported, and its wrong rows are left out', async () => {
  await openPage('Devices');
  await button('Import').click();
  await inDialog().getByLabel('Or paste the table').fill(TABLE);
  await inDialog().getByRole('button', { name: 'Look at it' }).click();
  const wrong = inDialog().getByRole('region', { name: 'Wrong rows' });
  await wrong.getByRole('row').filter({ hasText: 'external_id' }).getByText('3', { exact: true }).waitFor();
  await wrong.getByRole('row').filter({ hasText: 'dialect' }).getByText('4', { exact: true }).waitFor();
  const register = inDialog().getByRole('button', {
    name: 'Register 2 devices',
  });
  assert.ok(await register.isDisabled(), 'wrong rows must be mended or left out by choice');
  await inDialog().getByRole('checkbox').check();
  await register.click();
  await inDialog().getByText('2 devices are registered').waitFor();

  const table = await saved(inDialog().getByRole('button', { name: 'Save credentials.csv' }));
  const lines = table.trim().split(/\r?\n/);
  assert.equal(lines[0], 'name,dialect,external_id,id,credential');
  assert.equal(lines.length, 3);
  const [, , user, , password] = lines[1].split(',');
  const hall = await connectMqtt(hub.mqtt, { clientId: user, user, password });
  hall.close();
  assert.equal(hall.code, 0, 'an imported credential lets its device in');
  await inDialog().getByRole('button', { name: 'Done' }).click();
  await page.getByRole('link', { name: 'Hall 4' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Hall 2' }).count(), 0);
});

test('all devices of a filter get a tag in one go', async () => {
  await page.goto(`http://${hub.http}/devices?selector=${encodeURIComponent('tag=hall')}`);
  await page.getByRole('link', { name: 'Hall 1' }).waitFor();
  await page.getByRole('checkbox', { name: /all/i }).first().check();
  await button('Tag').click();
  await inDialog().getByText('This hits 2 devices').waitFor();
  await inDialog().getByLabel('Tags to add').fill('winter');
  await inDialog().getByRole('button', { name: 'Tag: 2 devices' }).click();
  await inDialog().getByText('2 changed').waitFor();
  await inDialog().getByRole('button', { name: 'Close' }).last().click();
  await row('Hall 4').getByText('winter').waitFor();
});

test('new credentials are asked for all that are selected', async () => {
  await page.getByRole('checkbox', { name: /all/i }).first().check();
  await button('New credentials').click();
  await inDialog().getByText('This hits 2 devices').waitFor();
  await inDialog().getByRole('button', { name: 'New credentials: 2 devices' }).click();
  await inDialog().getByText('2 changed').waitFor();
  await inDialog().getByRole('button', { name: 'Close' }).last().click();
  await page.getByRole('link', { name: 'Hall 4' }).click();
  await heading('Hall 4');
  await page
    .getByText(/new credential/i)
    .first()
    .waitFor();
});

test('a command is sent to the devices that match, and its page says how far it is', async () => {
  await openPage('Commands');
  await button('Send a command').first().click();
  await inDialog().getByRole('textbox', { name: 'Command' }).fill('pump');
  await inDialog().getByLabel('Arguments, as JSON').fill('{"on": true}');
  await inDialog().getByLabel('To the devices that match').fill('tag=hall');
  await inDialog().getByText('Hall 4').waitFor();
  await inDialog().getByRole('button', { name: 'Send to 2 devices' }).click();
  await heading('pump');
  await page.getByText('{"on":true}').waitFor();
  await row('Hall 1').getByText('Queued', { exact: true }).waitFor();
  await row('Hall 4').getByText('Queued', { exact: true }).waitFor();
  await button('Cancel for 2 devices').click();
  await row('Hall 1').getByText('Expired', { exact: true }).waitFor();
});

test('nothing went wrong in the browser', () => assert.deepEqual(browser.wrongs, []));
