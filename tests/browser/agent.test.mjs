//! A board with Motehub's agent in a real browser: it is registered, gets a script that crashes, and the page of the
//! device shows the log, the traceback, safe mode and what is kept away from it, until a person says otherwise.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { folder, openBrowser, startAgent, startHub } from './programs.mjs';

const DEVICE = 'Attic light';
const NAME = 'ada';
const PASSWORD = 'a long enough password';
/** Three starts of the board, and what the hub makes of them. */
const FAILED_MS = 60_000;

let data;
let flash;
let hub;
let board;
let browser;
let page;
let config;

before(async () => {
  data = await folder();
  flash = await folder();
  hub = await startHub(data.path);
  browser = await openBrowser();
  page = browser.page;
  page.setDefaultTimeout(15_000);
});

after(async () => {
  await browser?.close();
  await board?.stop();
  await hub?.stop();
  await data?.remove();
  await flash?.remove();
});

const button = (name) => page.getByRole('button', { name, exact: true });
const heading = (name) => page.getByRole('heading', { name, exact: true, level: 1 }).waitFor();
const inDialog = () => page.getByRole('dialog');

/** Makes a script and deploys it to the device. */
async function deploy(name, source) {
  await page.goto(`http://${hub.http}/scripts/new`);
  await page.getByLabel('Name').fill(name);
  await page.getByRole('textbox', { name: 'Lua source' }).click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(source);
  await page.getByText('Lua 5.1 syntax is fine').waitFor();
  await page.keyboard.press('Control+s');
  await heading(name);
  await button('Deploy').click();
  await inDialog().getByLabel('To the devices that match').fill('tag=attic');
  await inDialog().getByText('Advanced').click();
  await inDialog().getByLabel('Health window, in seconds').fill('5');
  await inDialog().getByRole('button', { name: 'Deploy to one device' }).click();
  await heading(`${name} v1`);
}

async function openDevice() {
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Devices' }).click();
  await page.getByRole('link', { name: DEVICE }).click();
  await heading(DEVICE);
}

test('the settings of the agent are shown when the device is registered', async () => {
  await page.goto(hub.setupLink);
  await page.getByLabel('Your name').fill(NAME);
  await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('New password again').fill(PASSWORD);
  await button('Make the account').click();
  await heading('Overview');
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Devices' }).click();
  await button('Register').click();
  await inDialog().getByLabel('Name').fill(DEVICE);
  await inDialog().getByLabel('Dialect').selectOption('native');
  await inDialog().getByLabel('Tags').fill('attic');
  await inDialog().getByRole('button', { name: 'Register' }).click();
  config = JSON.parse(await inDialog().locator('[data-part="config"]').innerText());
  assert.deepEqual(config.hub, {
    host: '127.0.0.1',
    mqtt: Number(hub.mqtt.split(':')[1]),
    http: Number(hub.http.split(':')[1]),
  });
  const download = page.waitForEvent('download');
  await inDialog().getByText('Download config.json').click();
  assert.equal((await download).suggestedFilename(), 'config.json');
  await inDialog().getByRole('button', { name: 'Done' }).click();
  board = await startAgent(hub, '10801015', config, flash.path);
  await openDevice();
  await page.getByText('motehub-agent').first().waitFor();
});

test('a script that crashes is seen with its traceback, in safe mode, and is kept away', async () => {
  await deploy('Broken', "print('about to break') local lamp lamp.on = true");
  await page.locator('td[data-label="State"]', { hasText: 'Failed' }).waitFor({ timeout: FAILED_MS });
  await openDevice();
  await page.getByText('Safe mode', { exact: true }).waitFor();
  const kept = page.locator('section, article, div', { hasText: 'Quarantine' }).locator('.kept').first();
  await kept.getByText("attempt to index local 'lamp'").first().waitFor();
  await kept.getByText('Traceback', { exact: true }).click();
  await kept.getByText('stack traceback').waitFor();
});

test('the next script brings the board out of it', async () => {
  await deploy('Works', "print('works')");
  await page.locator('td[data-label="State"]', { hasText: 'Done' }).waitFor({ timeout: FAILED_MS });
  await openDevice();
  await page.getByText('works', { exact: true }).first().waitFor();
  await page.getByText('Safe mode', { exact: true }).waitFor({ state: 'detached' });
});

test('the answer to a command appears on the open page when the board comes back', async () => {
  await deploy('Lamp', "motehub.on_command('led', function(args) return { on = args.on, pin = 4 } end)");
  await page.locator('td[data-label="State"]', { hasText: 'Done' }).waitFor({ timeout: FAILED_MS });
  await board.stop();
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Devices' }).click();
  await page.getByRole('checkbox', { name: `Select ${DEVICE}` }).check();
  await button('Send a command').click();
  await inDialog().getByRole('textbox', { name: 'Command' }).fill('led');
  await inDialog().getByLabel('Arguments, as JSON').fill('{"on": true}');
  await inDialog().getByRole('button', { name: 'Send', exact: true }).click();
  await heading('led');
  const row = page.getByRole('row').filter({ hasText: DEVICE });
  await row.getByText('Queued', { exact: true }).waitFor();
  await page.evaluate(() => (window.isTheSamePage = true));
  board = await startAgent(hub, '10801015', config, flash.path);
  await row.getByText('Done', { exact: true }).waitFor({ timeout: FAILED_MS });
  await row.getByText('"pin":4').waitFor();
  await page.getByText('1 Done', { exact: true }).waitFor();
  assert.ok(await page.evaluate(() => window.isTheSamePage), 'nobody loaded the page again');
  assert.deepEqual(browser.wrongs, []);
});
