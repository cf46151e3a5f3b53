//! A working day in a real browser, against the real hub: a board that nobody registered is let in, a table of
//! boards is imported, devices are tagged together, and a command is sent and taken back.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { connectMqtt } from './mqtt.mjs';
import { begin, button, dialog, follow, goto, heading, hub, nothingWentWrong, page, row } from './stage.mjs';

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

begin();

/** Presses, and gives the text of the file that the browser saves then. */
async function saved(pressed) {
  const [download] = await Promise.all([page.waitForEvent('download'), pressed.click()]);
  return readFile(await download.path(), 'utf8');
}

test('who knocks stands in the inbox, and is accepted with a credential', async () => {
  await follow('Devices');
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
  await dialog().getByLabel('Name').fill(DEVICE);
  await dialog().getByLabel('Dialect').selectOption('native');
  await dialog().getByLabel('Tags').fill('cellar');
  await dialog().getByRole('button', { name: 'Accept' }).click();
  const config = dialog().locator('[data-part="config"]');
  await config.waitFor();
  const { credential } = JSON.parse(await config.innerText());
  await dialog().getByRole('button', { name: 'Done' }).click();
  await page.getByText('Nobody waits').waitFor();

  const device = await connectMqtt(hub.mqtt, {
    clientId: STRANGER,
    user: STRANGER,
    password: credential,
  });
  assert.equal(device.code, 0, 'the credential that was shown lets the device in');
});

test('who is refused is not listed again, until it is taken out of the inbox', async () => {
  await goto('/inbox');
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
  await dialog().getByRole('button', { name: 'Refuse', exact: true }).click();
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
  await follow('Devices');
  await button('Import').click();
  await dialog().getByLabel('Or paste the table').fill(TABLE);
  await dialog().getByRole('button', { name: 'Look at it' }).click();
  const wrong = dialog().getByRole('region', { name: 'Wrong rows' });
  await wrong.getByRole('row').filter({ hasText: 'external_id' }).getByText('3', { exact: true }).waitFor();
  await wrong.getByRole('row').filter({ hasText: 'dialect' }).getByText('4', { exact: true }).waitFor();
  const register = dialog().getByRole('button', {
    name: 'Register 2 devices',
  });
  assert.ok(await register.isDisabled(), 'wrong rows must be mended or left out by choice');
  await dialog().getByRole('checkbox').check();
  await register.click();
  await dialog().getByText('2 devices are registered').waitFor();

  const table = await saved(dialog().getByRole('button', { name: 'Save credentials.csv' }));
  const lines = table.trim().split(/\r?\n/);
  assert.equal(lines[0], 'name,dialect,external_id,id,credential');
  assert.equal(lines.length, 3);
  const [, , user, , password] = lines[1].split(',');
  const hall = await connectMqtt(hub.mqtt, { clientId: user, user, password });
  hall.close();
  assert.equal(hall.code, 0, 'an imported credential lets its device in');
  await dialog().getByRole('button', { name: 'Done' }).click();
  await page.getByRole('link', { name: 'Hall 4' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Hall 2' }).count(), 0);
});

test('all devices of a filter get a tag in one go', async () => {
  await goto(`/devices?selector=${encodeURIComponent('tag=hall')}`);
  await page.getByRole('link', { name: 'Hall 1' }).waitFor();
  await page.getByRole('checkbox', { name: /all/i }).first().check();
  await button('Tag').click();
  await dialog().getByText('This hits 2 devices').waitFor();
  await dialog().getByLabel('Tags to add').fill('winter');
  await dialog().getByRole('button', { name: 'Tag: 2 devices' }).click();
  await dialog().getByText('2 changed').waitFor();
  await dialog().getByRole('button', { name: 'Close' }).last().click();
  await row('Hall 4').getByText('winter').waitFor();
});

test('new credentials are asked for all that are selected', async () => {
  await page.getByRole('checkbox', { name: /all/i }).first().check();
  await button('New credentials').click();
  await dialog().getByText('This hits 2 devices').waitFor();
  await dialog().getByRole('button', { name: 'New credentials: 2 devices' }).click();
  await dialog().getByText('2 changed').waitFor();
  await dialog().getByRole('button', { name: 'Close' }).last().click();
  await page.getByRole('link', { name: 'Hall 4' }).click();
  await heading('Hall 4');
  await page
    .getByText(/new credential/i)
    .first()
    .waitFor();
});

test('a command is sent to the devices that match, and its page says how far it is', async () => {
  await follow('Commands');
  await button('Send a command').first().click();
  await dialog().getByRole('textbox', { name: 'Command' }).fill('pump');
  await dialog().getByLabel('Arguments, as JSON').fill('{"on": true}');
  await dialog().getByLabel('To the devices that match').fill('tag=hall');
  await dialog().getByText('Hall 4').waitFor();
  await dialog().getByRole('button', { name: 'Send to 2 devices' }).click();
  await heading('pump');
  await page.getByText('{"on":true}').waitFor();
  await row('Hall 1').getByText('Queued', { exact: true }).waitFor();
  await row('Hall 4').getByText('Queued', { exact: true }).waitFor();
  await button('Cancel for 2 devices').click();
  await row('Hall 1').getByText('Expired', { exact: true }).waitFor();
});

nothingWentWrong();
