//! How devices and programs prove who they are, in a real browser: certificates of a device, with a key that the hub makes
//! and for one that the device made, its key for CoAP, and the access key of a token.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { api, begin, button, dialog, follow, goto, nothingWentWrong, page, row, shoot } from './stage.mjs';

/** Made by `openssl req -new`; nobody has its key any more. */
const REQUEST = `-----BEGIN CERTIFICATE REQUEST-----
MIHJMHECAQAwDzENMAsGA1UEAwwEbGFtcDBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABPQYRTgmsyULQkGwR88yiPD2UjRsiBD7u7VxsFhoV3HJhm0iovXSI6EB1+ax
nMoI1qZyfGw4mlbVssFX8mmbtA6gADAKBggqhkjOPQQDAgNIADBFAiA0rIfTXyWQ
IBHD7FqI+dipT6lJwjBN1oZ/+0dBIm4UygIhAJXnx1pafVh1Lt3pgZGdOu12v709
2hTAQP8u9WEGcoSj
-----END CERTIFICATE REQUEST-----
`;

let id;

begin({ prepare });

async function prepare() {
  ({ id } = await api('POST', '/devices', { name: 'Hall lamp', dialect: 'native', external_id: 'lamp-1' }));
}

const card = () => page.getByRole('region', { name: 'Certificates', exact: true });
const entries = () => card().getByRole('listitem');

async function downloaded(name) {
  const coming = page.waitForEvent('download');
  await dialog().getByRole('link', { name, exact: true }).click();
  const download = await coming;
  assert.equal(download.suggestedFilename(), name);
  return readFile(await download.path(), 'utf8');
}

test('a certificate is issued with a key that is shown only once', async () => {
  await goto(`/devices/${id}`);
  await card().getByText('It has none.').waitFor();
  await button('Issue a certificate', card()).click();
  await shoot('certificate-issue');
  await button('Issue it', dialog()).click();
  await dialog().getByText('can be downloaded only now').waitFor();
  assert.match(await downloaded('certificate.pem'), /^-----BEGIN CERTIFICATE-----/);
  assert.match(await downloaded('private_key.pem'), /^-----BEGIN PRIVATE KEY-----/);
  assert.match(await downloaded('authority.pem'), /^-----BEGIN CERTIFICATE-----/);
  await shoot('certificate-issued');
  await button('Done', dialog()).click();
  await entries().getByText('issued').waitFor();
});

test('a device that made its key itself shows a request', async () => {
  await button('Issue a certificate', card()).click();
  await dialog().getByLabel('The device made its key itself').check();
  await dialog().getByLabel('Its request (PEM)').fill('no request');
  await button('Issue it', dialog()).click();
  await dialog().getByText('openssl req -new` writes it').waitFor();
  await dialog().getByLabel('Its request (PEM)').fill(REQUEST);
  await button('Issue it', dialog()).click();
  await dialog().getByRole('link', { name: 'certificate.pem' }).waitFor();
  assert.equal(await dialog().getByRole('link', { name: 'private_key.pem' }).count(), 0);
  await button('Done', dialog()).click();
  await entries().nth(1).waitFor();
});

test('a certificate is revoked', async () => {
  await shoot('certificates');
  await button('Revoke', entries().first()).click();
  await button('Revoke', dialog()).click();
  await entries().nth(1).waitFor({ state: 'detached' });
  assert.equal(await entries().count(), 1);
});

test('the key for CoAP is shown when somebody asks for it', async () => {
  const { key } = await api('GET', `/devices/${id}/coap-key`);
  assert.equal(await page.getByText(key, { exact: true }).count(), 0);
  await button('Show the CoAP key').click();
  await page.getByText(key, { exact: true }).waitFor();
});

test('a token is made with an access key, which is shown only once', async () => {
  await follow('Tokens');
  await button('New token').first().click();
  await dialog().getByLabel('Name').fill('lights');
  await dialog().getByLabel('With an access key').check();
  await shoot('token-new');
  await button('Make the token', dialog()).click();
  await dialog().getByText('aws_secret_access_key=').waitFor();
  await shoot('token-made');
  await button('Done', dialog()).click();
  await row('lights').getByText('Access key').waitFor();
  await shoot('tokens');
});

nothingWentWrong((wrong) => /400.*certificate/.test(wrong));
