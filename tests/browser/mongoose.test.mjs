//! A light with Mongoose OS in a real browser: it is registered, and its page calls its methods, changes its settings and
//! writes its files, as a person does it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startLightAtHome } from './programs.mjs';
import { begin, button, dialog, goto, heading, hub, nothingWentWrong, page, shoot } from './stage.mjs';

const DEVICE = 'Hall light';

begin({ serve: ['--mdash', '127.0.0.1:0'] });

const card = (name) => page.getByRole('region', { name, exact: true });

test('a light is registered, and says what it is', async () => {
  await goto('/devices');
  await button('Register').click();
  await dialog().getByLabel('Name', { exact: true }).fill(DEVICE);
  await dialog().getByLabel('Dialect').selectOption('mongoose');
  await dialog().getByRole('button', { name: 'Register' }).click();
  await dialog().getByText('dash.token').waitFor();
  const token = (await dialog().locator('code, input').allTextContents()).find((text) =>
    /^[a-z2-9]{32}$/.test(text),
  );
  assert.ok(token, 'the token is shown');
  await dialog().getByRole('link', { name: 'Open the device' }).click();
  await heading(DEVICE);
  await startLightAtHome(hub, 'light-1', token);
  await page.getByText('smartlight').first().waitFor();
});

test('its methods are called', async () => {
  await button('Ask the device').click();
  const methods = card('Methods');
  await methods.getByLabel('Method', { exact: true }).selectOption('FS.Get');
  await methods.getByLabel('Parameters').fill('{"filename":"conf0.json"}');
  await methods.getByRole('button', { name: 'Call' }).click();
  await methods.getByText('"left": 0').waitFor();
  await methods.getByLabel('Method', { exact: true }).selectOption('OTA.Commit');
  await methods.getByLabel('Parameters').fill('');
  await methods.getByRole('button', { name: 'Call' }).click();
  await methods.getByText('already committed (code -1)').waitFor();
});

test('its settings are changed and kept', async () => {
  const settings = card('Settings of the device');
  await settings.getByRole('button', { name: 'Read them' }).click();
  await settings.getByLabel('Find a setting').fill('wifi.sta');
  await settings.getByLabel('wifi.sta.ssid').fill('Garden');
  assert.equal(await settings.getByLabel('wifi.sta.pass').getAttribute('type'), 'password');
  await shoot('settings');
  await settings.getByRole('button', { name: 'Save 1 change' }).click();
  await settings.getByText('Saved.').waitFor();
  await settings.getByRole('button', { name: 'Read again' }).click();
  await settings.getByRole('button', { name: 'Save 0 changes' }).waitFor();
  assert.equal(await settings.getByLabel('wifi.sta.ssid').inputValue(), 'Garden');
  // What its own list does not allow is refused, and said.
  await settings.getByLabel('Find a setting').fill('dash.server');
  await settings.getByLabel('dash.server').fill('ws://elsewhere');
  await settings.getByRole('button', { name: 'Save 1 change' }).click();
  await settings.getByText('Setting key dash.server is not allowed').waitFor();
});

test('its files are read, written and removed', async () => {
  const files = card('Files of the device');
  await files.getByRole('button', { name: 'List them' }).click();
  await files.getByRole('button', { name: 'conf5.json', exact: true }).click();
  await files.getByLabel('Text of conf5.json').waitFor();
  await files.getByLabel('Name of a new file').fill('notes.txt');
  await files.getByRole('button', { name: 'New file' }).click();
  const text = 'größe\n'.repeat(400);
  await files.getByLabel('Text of notes.txt').fill(text);
  await files.getByRole('button', { name: 'Save the file' }).click();
  await files.getByText('Saved.').waitFor();
  await files.getByRole('button', { name: 'conf0.json', exact: true }).click();
  await files.getByLabel('Text of conf0.json').waitFor();
  await files.getByRole('button', { name: 'notes.txt', exact: true }).click();
  await files.getByLabel('Text of notes.txt').waitFor();
  assert.equal(await files.getByLabel('Text of notes.txt').inputValue(), text);
  await shoot('files');
  await files.getByRole('button', { name: 'Remove notes.txt' }).click();
  await dialog().getByRole('button', { name: 'Remove' }).click();
  await files.getByRole('button', { name: 'notes.txt', exact: true }).waitFor({ state: 'detached' });
});

nothingWentWrong((wrong) => wrong.includes('422') && wrong.includes('/ask'));
