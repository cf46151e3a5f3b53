//! Firmware in a real browser: files that are no good are refused, a zip of Mongoose OS is uploaded, a light is given the
//! new version and keeps it, and what a light runs is not deleted.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { startLightAtHome } from './programs.mjs';
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
  page,
  row,
  shoot,
} from './stage.mjs';

const DEVICE = 'Hall light';
const NOTES = 'Fades instead of switching.';
const CODE = Buffer.alloc(200_000, 7);
const BUILD = '20261128-101500/0bb1be7@master';

begin({
  serve: ['--mdash', '127.0.0.1:0'],
  prepare: async () => {
    const light = { name: DEVICE, dialect: 'mongoose', external_id: 'light-1', tags: ['hall'] };
    const { credential } = await api('POST', '/devices', light);
    await startLightAtHome(hub, light.external_id, credential);
  },
});

/** The check sum of a zip. */
function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

/** A zip of stored entries, as the build tools of Mongoose OS pack it. */
function zip(entries) {
  const files = [];
  const directory = [];
  let place = 0;
  for (const [name, body] of entries) {
    const what = Buffer.alloc(26);
    what.writeUInt16LE(20, 0);
    what.writeUInt32LE(crc32(body), 10);
    what.writeUInt32LE(body.length, 14);
    what.writeUInt32LE(body.length, 18);
    what.writeUInt16LE(name.length, 22);
    files.push(Buffer.from('PK\x03\x04'), what, Buffer.from(name), body);
    const where = Buffer.alloc(14);
    where.writeUInt32LE(place, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\x00'), what, where, Buffer.from(name));
    place += 30 + name.length + body.length;
  }
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(place, 16);
  return Buffer.concat([...files, ...directory, end]);
}

const CS_SHA1 = createHash('sha1').update(CODE).digest('hex');
const MANIFEST = {
  name: 'smartlight',
  platform: 'esp8266',
  version: '1.1',
  build_id: BUILD,
  parts: { fw: { type: 'fw', src: 'fw.bin', size: CODE.length, cs_sha1: CS_SHA1 } },
};
const manifest = ['smartlight-1.1/manifest.json', Buffer.from(JSON.stringify(MANIFEST))];
const code = ['smartlight-1.1/fw.bin', CODE];
const GOOD = zip([manifest, code]);
const damaged = Buffer.from(GOOD);
damaged[10_000] ^= 1;

/** Does it, and gives what the hub answered. */
async function answered(method, path, deed) {
  const isIt = (response) =>
    response.request().method() === method && new URL(response.url()).pathname.startsWith(`/api/v1${path}`);
  const [response] = await Promise.all([page.waitForResponse(isIt), deed()]);
  return { status: response.status(), body: await response.json() };
}

const choose = (name, buffer) =>
  dialog().getByLabel('File').setInputFiles({ name, mimeType: 'application/zip', buffer });

test('a file that is no good is refused, and the dialog says why', async () => {
  await goto('/firmware');
  await page.getByText('No firmware yet').waitFor();
  await shoot('firmware-empty');
  await button('Upload firmware').click();
  const files = [
    ['no-zip.zip', Buffer.from('this is no zip')],
    ['cut.zip', GOOD.subarray(0, 10_000)],
    ['damaged.zip', damaged],
    ['no-manifest.zip', zip([code])],
    ['no-code.zip', zip([manifest])],
  ];
  for (const [name, bytes] of files) {
    await choose(name, bytes);
    assert.equal(await dialog().getByRole('alert').count(), 0, 'what was said of the file before is gone');
    const { status, body } = await answered('POST', '/firmware', () => button('Upload', dialog()).click());
    assert.ok(status === 400 || status === 422, `${name}: ${status}`);
    await dialog().getByRole('alert').getByText(body.detail).waitFor();
  }
  await shoot('firmware-refused');
});

test('a good one is uploaded, and its progress is seen', async () => {
  await choose('smartlight-1.1.zip', GOOD);
  await dialog().getByLabel('Notes').fill(NOTES);
  await page.evaluate(() => {
    window.said = [];
    const look = () => {
      const bar = document.querySelector('[role=dialog] progress, dialog progress');
      if (bar !== null) window.said.push(bar.parentElement.innerText.trim());
    };
    const all = { subtree: true, childList: true, characterData: true };
    new MutationObserver(look).observe(document.body, all);
  });
  // The request is held until its beginning was seen.
  let release;
  const seen = new Promise((resolve) => (release = resolve));
  await page.route('**/api/v1/firmware', async (route) => {
    await seen;
    await route.continue();
  });
  await button('Upload', dialog()).click();
  await dialog().getByRole('progressbar', { name: 'Upload' }).waitFor();
  await dialog().getByText('0 %').waitFor();
  await shoot('firmware-upload');
  release();
  await heading('smartlight 1.1');
  await page.unroute('**/api/v1/firmware');
  const said = await page.evaluate(() => window.said);
  assert.equal(said.at(0), '0 %');
  assert.equal(said.at(-1), 'Checking…');
});

test('its page says what it is', async () => {
  const size = `${(GOOD.length / 1000).toFixed(1)} kB`;
  const digest = createHash('sha256').update(GOOD).digest('hex');
  for (const text of [NOTES, 'esp8266', BUILD, size, digest])
    await page.getByText(text, { exact: true }).first().waitFor();
  await page.getByText('None yet.').waitFor();
  await shoot('firmware-one');
  await follow('Firmware');
  await row('smartlight').getByText('1.1', { exact: true }).waitFor();
  await row('smartlight').getByText(NOTES).waitFor();
  await shoot('firmware-list');
  await page.getByRole('link', { name: 'smartlight' }).click();
  await heading('smartlight 1.1');
});

test('it is deployed to the devices that match, and the light keeps it', async () => {
  await button('Deploy').click();
  await dialog().getByRole('combobox', { name: 'To the devices that match' }).fill('tag=hall');
  await dialog().getByText('Advanced').click();
  await dialog().getByLabel('Health window, in seconds').fill('5');
  await dialog().getByText(DEVICE).waitFor();
  await shoot('firmware-deploy');
  // Every state that the open page shows of the task; nobody loads it again.
  await page.evaluate((device) => {
    window.states = [];
    const look = () => {
      const rows = [...document.querySelectorAll('tr')].filter((row) => row.innerText.includes(device));
      const state = rows.at(-1)?.querySelector('[data-label=State]')?.innerText.trim();
      if (state !== undefined && window.states.at(-1) !== state) window.states.push(state);
    };
    const all = { subtree: true, childList: true, characterData: true };
    new MutationObserver(look).observe(document.body, all);
  }, DEVICE);
  await dialog().getByRole('button', { name: 'Deploy to one device' }).click();
  await page.getByRole('heading', { name: 'Tasks', exact: true }).waitFor();
  await row(DEVICE).getByText('Done', { exact: true }).waitFor();
  const states = await page.evaluate(() => window.states);
  assert.ok(states.length > 1, `the page was live: ${states.join(', ')}`);
  assert.equal(states.at(-1), 'Done');
  await shoot('firmware-done');
  await page.getByRole('link', { name: DEVICE }).click();
  await heading(DEVICE);
  await page.locator('[data-part=firmware]').getByText('1.1', { exact: true }).waitFor();
});

test('it is deployed from the list of devices too', async () => {
  await follow('Devices');
  await page.getByRole('checkbox', { name: `Select ${DEVICE}` }).check();
  await button('Deploy').click();
  await dialog().getByLabel('What').selectOption({ label: 'smartlight 1.1 for esp8266' });
  await shoot('firmware-deploy-selected');
  await dialog().getByRole('button', { name: 'Deploy to one device' }).click();
  await heading('smartlight 1.1');
  await page.getByRole('heading', { name: 'Tasks', exact: true }).waitFor();
  await page.getByRole('link', { name: DEVICE }).click();
  await heading(DEVICE);
});

test('what a light runs is not deleted', async () => {
  await page.locator('[data-part=firmware]').getByRole('link', { name: 'smartlight' }).click();
  await heading('smartlight 1.1');
  await page.getByRole('link', { name: DEVICE }).waitFor();
  await shoot('firmware-used');
  await button('Delete').click();
  await dialog().getByLabel('Type “1.1” to confirm').fill('1.1');
  const { status, body } = await answered('DELETE', '/firmware/', () =>
    button('Delete firmware', dialog()).click(),
  );
  assert.equal(status, 409);
  await page.getByText(body.detail).waitFor();
  await follow('Firmware');
  await row('smartlight').waitFor();
});

nothingWentWrong((wrong) => /\b(400|422|409)\b/.test(wrong) && wrong.includes('/api/v1/firmware'));
