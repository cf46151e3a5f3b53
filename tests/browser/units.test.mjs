//! Plain TCP units in a real browser: a sensor is registered by its address, what its lines mean is set on its page, and
//! what is wrong is said at its field.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { atEnd } from './programs.mjs';
import { api, begin, button, dialog, follow, heading, nothingWentWrong, page, shoot } from './stage.mjs';

let sensor;

begin({ prepare: async () => (sensor = await startSensor()) });

/** A sensor on a free port of this machine: once somebody connects, a line each tenth of a second. */
async function startSensor() {
  const open = new Set();
  const server = createServer((socket) => {
    open.add(socket);
    const says = setInterval(() => socket.write('T=21.5 H=40%\n'), 100);
    socket.on('error', () => {}).on('close', () => clearInterval(says) ?? open.delete(socket));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return `127.0.0.1:${server.address().port}`;
}

const line = () => page.locator('form').filter({ hasText: 'Proves nothing' });

test('a unit is registered by its address', async () => {
  await follow('Devices');
  await button('Register').first().click();
  await dialog().getByLabel('Name', { exact: true }).fill('Hall');
  await dialog().getByLabel('Dialect').selectOption('line');
  await dialog().getByLabel('Address', { exact: true }).fill('8.8.8.8:53');
  await button('Register', dialog()).click();
  await dialog().getByText('--line-network').waitFor();
  await dialog().getByLabel('Address', { exact: true }).fill(sensor);
  await shoot('unit-register');
  await button('Register', dialog()).click();
  await dialog().getByText('A unit has no use for it').waitFor();
  await dialog().getByRole('link', { name: 'Open the device' }).click();
  await heading('Hall');
  await page.getByText('Not authenticated').waitFor();
});

test('what its lines mean is set on its page', async () => {
  await page.getByText('is no number').first().waitFor();
  await line().getByLabel('Its lines are').selectOption('regex');
  await line().getByLabel('Regular expression').fill('T=(?<t>[0-9.]+');
  await button('Save', line()).click();
  await line().getByText('no regular expression').waitFor();
  await line().getByLabel('Regular expression').fill('T=(?<t>[0-9.]+) H=(?<h>[0-9]+)');
  await button('Save', line()).click();
  await page.getByText('Saved.').waitFor();
  await page.getByText('21.5').first().waitFor();
  await line().getByText('More settings').click();
  await shoot('unit');
  const { items } = await api('GET', '/devices?q=Hall');
  assert.equal(items[0].line.pattern, 'T=(?<t>[0-9.]+) H=(?<h>[0-9]+)');
  assert.equal(items[0].address, sensor);
});

nothingWentWrong((wrong) => /\b400\b/.test(wrong) && wrong.includes('/api/v1/devices'));
