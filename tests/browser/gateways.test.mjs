//! A gateway in another building, in a real browser: it is made, its join file is shown once, its link and the nodes behind it
//! are seen, and nodes are unreachable while it is away.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway, startNodes } from './programs.mjs';
import { api, begin, button, dialog, follow, goto, heading, hub, nothingWentWrong, page, row, shoot } from './stage.mjs';

const NODES = ['leds', 'bmx280', 'ccs811'];
let join;
let gateway;

begin({ serve: ['--coap', '127.0.0.1:0'] });

const picture = () => page.getByRole('region', { name: 'Who is where' });

test('a gateway is made, and its join file is shown once', async () => {
  await follow('Gateways');
  await page.getByText('No gateways yet').waitFor();
  await shoot('gateways-none');
  await page.getByRole('button', { name: 'New gateway' }).first().click();
  await dialog().getByLabel('Name', { exact: true }).fill('Cellar');
  await dialog().getByLabel('Speaks for').fill('tag=cellar');
  await button('Make it', dialog()).click();
  await dialog().getByText('shown only now').waitFor();
  join = await dialog().locator('pre').textContent();
  assert.match(join, /private_key = /);
  const [saved] = await Promise.all([
    page.waitForEvent('download'),
    dialog().getByRole('link', { name: 'Save as cellar.join' }).click(),
  ]);
  assert.equal(saved.suggestedFilename(), 'cellar.join');
  await shoot('join-file');
  await button('Done', dialog()).click();
  await row('Cellar').getByText('Never came').waitFor();
  assert.equal((await page.content()).includes('private_key'), false);
});

test('its link is seen, and who is behind it', async () => {
  gateway = await startGateway('coap', join);
  await row('Cellar').getByText('Linked').waitFor();
  await row('Cellar').getByText(/^\d+ ms$/).waitFor();
  const behind = await startNodes(gateway, '127.72.0.1', NODES, ['--speed', '3']);
  const here = await startNodes(hub, '127.72.1.1', ['leds'], ['--seed', '7']);
  for (const [name, uid, tags] of [
    ...Object.entries(behind.nodes).map(([name, uid]) => [`Cellar: ${name}`, uid, ['cellar']]),
    ['Hall light', here.nodes['Node LED'], []],
  ]) {
    const { id } = await api('POST', '/devices', { name, dialect: 'riot', external_id: uid, tags });
    await api('PATCH', `/devices/${id}`, { unauthenticated_allowed: true, allowed_from: '127.0.0.0/8' });
  }
  await picture().getByRole('link', { name: 'Cellar: Gas Sensor, online' }).waitFor();
  await picture().getByRole('link', { name: 'Hall light, online' }).waitFor();
  await row('Cellar').getByText('3 online').waitFor();
  await row('Cellar').getByText(/^[1-9]\d* a minute$/).waitFor();
  await shoot('gateways');
});

test('nodes are unreachable while their gateway is away, and not offline', async () => {
  await gateway.stop();
  await row('Cellar').getByText('Lost').waitFor();
  await row('Cellar').getByText('3 unreachable').waitFor();
  await picture().getByRole('link', { name: 'Cellar: Gas Sensor, unreachable' }).waitFor();
  await shoot('gateways-lost');
  await goto('/devices');
  const gas = row('Cellar: Gas Sensor');
  await gas.getByTitle('Unreachable: the link to its gateway is lost').first().waitFor();
  await row('Hall light').getByTitle('Online').waitFor();
  await page.getByRole('link', { name: 'Cellar: Gas Sensor' }).click();
  await heading('Cellar: Gas Sensor');
  await page.getByText('Unreachable', { exact: true }).waitFor();
});

test('it is given a new key, and its keys are revoked by somebody who means it', async () => {
  await follow('Gateways');
  await button('New key', row('Cellar')).click();
  await button('Make a key', dialog()).click();
  await dialog().getByText('shown only now').waitFor();
  assert.notEqual(await dialog().locator('pre').textContent(), join);
  await button('Done', dialog()).click();
  await row('Cellar').getByText('a new key waits to be used').waitFor();
  await button('Revoke', row('Cellar')).click();
  assert.equal(await button('Revoke', dialog()).isDisabled(), true);
  await dialog().getByLabel('Type “Cellar” to confirm').fill('Cellar');
  await button('Revoke', dialog()).click();
  await row('Cellar').getByText('Revoked').waitFor();
  await button('Delete', row('Cellar')).click();
  await dialog().getByLabel('Type “Cellar” to confirm').fill('Cellar');
  await button('Delete', dialog()).click();
  await page.getByText('No gateways yet').waitFor();
});

nothingWentWrong();
