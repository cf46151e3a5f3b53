//! A board with Motehub's agent in a real browser: it is registered, gets a script that crashes, and the page of the
//! device shows the log, the traceback, safe mode and what is kept away from it, until a person says otherwise.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { folder, startAgent } from './programs.mjs';
import {
  api,
  begin,
  button,
  dialog,
  follow,
  goto,
  heading,
  hub,
  nothingWentWrong,
  openDevice,
  page,
  row,
} from './stage.mjs';

const DEVICE = 'Attic light';

let flash;
let board;
let config;

begin();

/** Makes a script and deploys it to the device. */
async function deploy(name, source) {
  await goto('/scripts/new');
  await page.getByLabel('Name').fill(name);
  await page.getByRole('textbox', { name: 'Lua source' }).click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(source);
  await page.getByText('Lua 5.1 syntax is fine').waitFor();
  await page.keyboard.press('Control+s');
  await heading(name);
  await button('Deploy').click();
  await dialog().getByLabel('To the devices that match').fill('tag=attic');
  await dialog().getByText('Advanced').click();
  await dialog().getByLabel('Health window, in seconds').fill('5');
  await dialog().getByRole('button', { name: 'Deploy to one device' }).click();
  await heading(`${name} v1`);
}

/** On the page of the deployment: how it is with the device. */
const task = (state) => row(DEVICE).getByText(state, { exact: true }).waitFor();

test('the settings of the agent are shown when the device is registered', async () => {
  await follow('Devices');
  await button('Register').click();
  await dialog().getByLabel('Name').fill(DEVICE);
  await dialog().getByLabel('Dialect').selectOption('native');
  await dialog().getByLabel('Tags').fill('attic');
  await dialog().getByRole('button', { name: 'Register' }).click();
  config = JSON.parse(await dialog().locator('[data-part="config"]').innerText());
  assert.deepEqual(config.hub, {
    host: '127.0.0.1',
    mqtt: Number(hub.mqtt.split(':')[1]),
    http: Number(hub.http.split(':')[1]),
  });
  const download = page.waitForEvent('download');
  await dialog().getByText('Download config.json').click();
  assert.equal((await download).suggestedFilename(), 'config.json');
  await dialog().getByRole('button', { name: 'Done' }).click();
  flash = await folder();
  board = await startAgent(hub, '10801015', config, flash);
  await openDevice(DEVICE);
  await page.getByText('motehub-agent').first().waitFor();
});

test('a script that crashes is seen with its traceback, in safe mode, and is kept away', async () => {
  await deploy('Broken', "print('about to break') local lamp lamp.on = true");
  await task('Failed');
  await openDevice(DEVICE);
  await page.getByText('Safe mode', { exact: true }).waitFor();
  const kept = page.locator('section, article, div', { hasText: 'Quarantine' }).locator('.kept').first();
  await kept.getByText("attempt to index local 'lamp'").first().waitFor();
  await kept.getByText('Traceback', { exact: true }).click();
  await kept.getByText('stack traceback').waitFor();
});

test('the next script brings the board out of it', async () => {
  await deploy('Works', "print('works')");
  await task('Done');
  await openDevice(DEVICE);
  await page.getByText('works', { exact: true }).first().waitFor();
  await page.getByText('Safe mode', { exact: true }).waitFor({ state: 'detached' });
});

test('the answer to a command appears on the open page when the board comes back', async () => {
  await deploy('Lamp', "motehub.on_command('led', function(args) return { on = args.on, pin = 4 } end)");
  await task('Done');
  await openDevice(DEVICE);
  await board.stop();
  await page.getByText('Offline', { exact: true }).first().waitFor();
  await follow('Devices');
  await page.getByRole('checkbox', { name: `Select ${DEVICE}` }).check();
  await button('Send a command').click();
  await dialog().getByRole('textbox', { name: 'Command' }).fill('led');
  await dialog().getByLabel('Arguments, as JSON').fill('{"on": true}');
  await dialog().getByRole('button', { name: 'Send', exact: true }).click();
  await heading('led');
  await task('Queued');
  await page.evaluate(() => (window.isTheSamePage = true));
  board = await startAgent(hub, '10801015', config, flash);
  await task('Done');
  await row(DEVICE).getByText('"pin":4').waitFor();
  await page.getByText('1 Done', { exact: true }).waitFor();
  assert.ok(await page.evaluate(() => window.isTheSamePage), 'nobody loaded the page again');
});

test('a script in Python is checked as MicroPython takes it, and is for boards that have it', async () => {
  await goto('/scripts/new');
  await page.getByLabel('Name').fill('Greenhouse');
  await page.getByLabel('Language').selectOption('python');
  await page.getByText('MicroPython syntax is fine').waitFor();
  await page.getByRole('textbox', { name: 'Python source' }).click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText('x = 1\nmatch x:\n    case 1:\n        pass\n');
  await page.getByText('Line 2: Cannot use `match` statement in MicroPython').waitFor();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText('print("hello")\n');
  await page.getByText('MicroPython syntax is fine').waitFor();
  await page.keyboard.press('Control+s');
  await heading('Greenhouse');
  const { items } = await api('GET', '/scripts?q=Greenhouse');
  assert.deepEqual([items[0].language, items[0].requires], ['python', ['micropython']]);
});

nothingWentWrong();
