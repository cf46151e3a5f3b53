//! What every test of this folder begins with: a hub, a real browser, and Ada, who owns the hub and is logged in.
//! `begin` is called once, at the top of a file; the bindings are live: they hold what it opened when the first test runs.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { folder, openBrowser, restartHub, startHub } from './programs.mjs';

export const NAME = 'ada';
export const PASSWORD = 'a long enough password';

export let hub;
export let browser;
export let page;
let data;

/**
 * `account` is whose the hub is; null leaves it at its set-up link. `start` is for a hub that is not the usual one.
 * `prepare` is done last, and the tests wait for it.
 */
export function begin({ serve = [], account = NAME, start = null, prepare = async () => {} } = {}) {
  before(async () => {
    data = await folder();
    hub = await (start === null ? startHub(data, serve) : start());
    browser = await openBrowser();
    page = browser.page;
    if (account !== null) await makeAccount(account);
    await prepare();
  });
}

async function makeAccount(name) {
  await page.goto(hub.setupLink);
  await heading('Welcome to Motehub');
  await api('POST', '/setup', { code: new URL(hub.setupLink).hash.slice(1), name, password: PASSWORD });
  await goto('/');
  await heading('Overview');
}

/** Goes in by name and password, from whichever page the login is shown. */
export async function logIn(name, password, on = page) {
  await on.getByLabel('Name').fill(name);
  await on.getByLabel('Password').fill(password);
  await button('Log in', on).click();
}

/** The hub goes away. */
export const stopHub = () => hub.stop();

/** The same hub again, where its browsers look for it. */
export async function returnHub() {
  hub = await restartHub(data, hub.http);
}

/** Goes to a page, and waits until it hears what happens from now on. */
export async function goto(path) {
  await page.goto(`http://${hub.http}${path}`);
  await page.getByRole('status').getByText('Live', { exact: true }).waitFor();
}

/** Calls the API as whoever is logged in in the first page. */
export function api(method, path, body) {
  return page.evaluate(
    async ([method, path, body]) => {
      const me = await fetch('/api/v1/me');
      const headers = { 'content-type': 'application/json' };
      if (me.ok) headers['x-csrf-token'] = (await me.json()).csrf;
      const answer = await fetch(`/api/v1${path}`, { method, headers, body });
      if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
      return answer.status === 204 ? null : answer.json();
    },
    [method, path, body === undefined ? undefined : JSON.stringify(body)],
  );
}

export const button = (name, on = page) => on.getByRole('button', { name, exact: true });
export const dialog = () => page.getByRole('dialog');
export const row = (text) => page.getByRole('row').filter({ hasText: text });
export const heading = (name, on = page) =>
  on.getByRole('heading', { name, exact: true, level: 1 }).waitFor();

/** Opens a page by the navigation. */
export async function follow(name) {
  const menu = page.getByRole('navigation', { name: 'Main' });
  await menu.getByRole('link', { name, exact: true }).click();
  await heading(name);
}

/** Opens the page of a device by the list. */
export async function openDevice(name) {
  await follow('Devices');
  await page.getByRole('link', { name, exact: true }).click();
  await heading(name);
}

/** A screenshot of each look, if SHOTS names a folder for them: light, dark, and on a phone. */
export async function shoot(name) {
  const where = process.env.SHOTS;
  if (!where) return;
  const size = page.viewportSize();
  const looks = [
    ['light', size],
    ['dark', size],
    ['light', { width: 390, height: 844 }],
  ];
  for (const [colorScheme, { width, height }] of looks) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    await page.screenshot({
      path: `${where}/${name}-${colorScheme}-${width}.png`,
      fullPage: true,
      animations: 'disabled',
    });
  }
  await page.setViewportSize(size);
}

/** The last test of a file. What the browser said of requests that were refused on purpose is given. */
export function nothingWentWrong(meant = () => false, wrongs = () => browser.wrongs) {
  test('nothing went wrong in the browser that nobody saw', () => {
    assert.deepEqual(
      wrongs().filter((wrong) => !meant(wrong)),
      [],
    );
  });
}
