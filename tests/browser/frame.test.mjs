//! What holds on every page, in a real browser: the link comes back after the hub was away and brings what
//! was missed, the keys work, a viewer sees no button that would be refused, and nothing is wider than a
//! phone of 360 px.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  NAME,
  begin,
  browser,
  button,
  dialog,
  goto,
  heading,
  hub,
  nothingWentWrong,
  page,
  returnHub,
} from './stage.mjs';

const PAGES = ['Overview', 'Devices', 'Scripts', 'Deployments', 'Activity', 'Grants', 'Users', 'Tokens'];

begin();

const linkState = (word) => page.getByRole('status').getByText(word, { exact: true }).waitFor();
const open = (name) => page.getByRole('navigation').getByRole('link', { name, exact: true }).click();

/** Registers a device as another program would: not by this page. */
async function registerElsewhere(name, chipId) {
  const other = await page.context().newPage();
  await other.goto(`http://${hub.http}/devices?register=1`);
  await other.getByRole('dialog').getByLabel('Name').fill(name);
  await other.getByRole('dialog').getByLabel('Chip id').fill(chipId);
  await other.getByRole('dialog').getByRole('button', { name: 'Register' }).click();
  await other.getByRole('heading', { name: `${name} is registered` }).waitFor();
  await other.close();
}

test('what another browser does appears here by itself', async () => {
  await linkState('Live');
  await open('Devices');
  await heading('Devices');
  await page.getByText('No devices yet').waitFor();
  await registerElsewhere('Lamp', '1001');
  await page.getByRole('link', { name: 'Lamp' }).waitFor();
});

test('the live link comes back after the hub was away', async () => {
  await hub.stop();
  await linkState('Reconnecting');
  await returnHub();
  await linkState('Live');
  await registerElsewhere('Pump', '1002');
  await page.getByRole('link', { name: 'Pump' }).waitFor();
  // While the hub was away the browser reported every refused connection; that was meant.
  browser.wrongs.splice(0);
});

test('a slash moves to the search, Esc closes a dialog, the filter lives in the address', async () => {
  await page.getByRole('heading', { level: 1 }).click();
  await page.keyboard.press('/');
  await page.keyboard.type('lam');
  await page.getByRole('link', { name: 'Pump' }).waitFor({ state: 'detached' });
  await page.waitForURL(/[?&]q=lam$/);
  await page.reload();
  await page.getByRole('link', { name: 'Lamp' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Pump' }).count(), 0);
  await button('Register').click();
  await dialog().waitFor();
  await page.keyboard.press('Escape');
  await dialog().waitFor({ state: 'detached' });
});

test('a theme that was chosen stays', async () => {
  await page.emulateMedia({ colorScheme: 'light' });
  await button('Change to the dark theme').click();
  await button('Change to the light theme').waitFor();
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await background();
  await page.reload();
  await heading('Devices');
  assert.equal(await background(), dark);
  await button('Change to the light theme').click();
  await button('Change to the dark theme').waitFor();
  assert.notEqual(await background(), dark);
});

test('no page is wider than a phone', async () => {
  await page.setViewportSize({ width: 360, height: 700 });
  for (const name of PAGES) {
    await button('Navigation').click();
    await open(name);
    await heading(name);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${name} is ${width} px wide`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
});

test('a viewer is given nothing that would be refused', async () => {
  await open('Users');
  await button('Add a user').click();
  await dialog().getByLabel('Name').fill('bo');
  await dialog().getByRole('button', { name: 'Add' }).click();
  const once = (await dialog().locator('code').innerText()).trim();
  await dialog().getByRole('button', { name: 'Done' }).click();
  await page.getByRole('link', { name: `Account of ${NAME}` }).click();
  await button('Log out').click();
  await heading('Log in');
  await page.getByLabel('Name').fill('bo');
  await page.getByLabel('Password').fill(once);
  await button('Log in').click();
  await heading('Choose your own password');
  await page.getByLabel('The password you were given').fill(once);
  await page.getByLabel('New password', { exact: true }).fill('another long password');
  await page.getByLabel('New password again').fill('another long password');
  await button('Change password').click();
  await page.getByRole('link', { name: 'Account of bo' }).waitFor();
  await goto('/devices');
  await page.getByRole('link', { name: 'Lamp' }).waitFor();
  assert.equal(await button('Register').count(), 0);
  await page.getByRole('link', { name: 'Lamp' }).click();
  await heading('Lamp');
  for (const name of ['Edit', 'Force', 'Roll back', 'New credential', 'Delete device…']) {
    assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0, name);
  }
  await goto('/users');
  await page.getByText('This page is for others').waitFor();
});

nothingWentWrong();
