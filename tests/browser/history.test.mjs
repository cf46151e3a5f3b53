//! Months of telemetry in the dashboard: charts of two devices, a range that zoom changes in the address, an export
//! that is downloaded, units that are shown.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { connectMqtt } from './mqtt.mjs';
import { api, begin, button, dialog, goto, hub, nothingWentWrong, page } from './stage.mjs';

const DAY = 86_400_000;
const POINTS = 4_000;
const PER_MESSAGE = 800;
const series = [];

begin({ prepare });

/** Forty days of a board: a wave with a peak, and a door, with a day of silence. */
async function fill(number, device) {
  const board = await connectMqtt(hub.mqtt, {
    clientId: device.id,
    user: device.id,
    password: device.credential,
  });
  const begin = Date.now() - 40 * DAY;
  const points = Array.from({ length: POINTS }, (_, i) => ({
    ts: Math.round(begin + (i * 40 * DAY) / POINTS),
    temperature: Number((20 + number + 5 * Math.sin(i / 60) + (i === 2_000 ? 30 : 0)).toFixed(2)),
    door: i % 200 < 30 ? 'open' : 'closed',
  })).filter((_, i) => i < 2_500 || i > 2_600);
  for (let i = 0; i < points.length; i += PER_MESSAGE / 2)
    await board.publish(
      `devices/${device.id}/telemetry`,
      JSON.stringify(points.slice(i, i + PER_MESSAGE / 2)),
    );
  board.close();
}

async function prepare() {
  for (const [index, name] of ['Kitchen', 'Cellar'].entries()) {
    const external_id = String(index + 1);
    const device = await api('POST', '/devices', { name, dialect: 'native', external_id });
    await fill(index + 1, device);
    series.push(device.id);
  }
}

const params = () => new URL(page.url()).searchParams;

test('two devices are put into one chart', async () => {
  await page.getByRole('link', { name: 'Telemetry', exact: true }).click();
  await page.getByRole('button', { name: 'Add series' }).first().click();
  await dialog().getByRole('button', { name: 'Kitchen' }).click();
  await dialog().getByLabel('temperature').check();
  await dialog().getByLabel('door').check();
  await dialog().getByRole('button', { name: 'Cellar' }).click();
  await dialog().getByLabel('temperature').check();
  await dialog().getByRole('button', { name: 'Show 3 series' }).click();
  await page.getByRole('button', { name: '30 d' }).click();
  await page.waitForURL(/range=30d/);
  await page.locator('.uplot canvas').first().waitFor();
  assert.equal(await page.locator('figure .uplot').count(), 1, 'both temperatures share a chart');
  await page.getByRole('figure', { name: 'door over time' }).waitFor();
  assert.deepEqual(params().getAll('series'), [
    `${series[0]}:temperature`,
    `${series[0]}:door`,
    `${series[1]}:temperature`,
  ]);
});

test('a drag over the chart changes the range in the address, and back is back', async () => {
  const box = await page.locator('.uplot .u-over').first().boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 8 });
  await page.mouse.up();
  await page.waitForURL(/from=\d+&to=\d+/);
  const [from, to] = [Number(params().get('from')), Number(params().get('to'))];
  assert.ok(Math.abs((to - from) / (30 * DAY) - 0.3) < 0.02, `${(to - from) / DAY} days`);
  await page.locator('[data-range]').waitFor();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 60);
  await page.mouse.wheel(0, -120);
  await page.waitForFunction((span) => {
    const now = new URL(location.href).searchParams;
    return Number(now.get('to')) - Number(now.get('from')) < span * 0.9;
  }, to - from);
  await page.goBack();
  await page.waitForURL(/range=30d/);
});

test('the points of the range are downloaded', async () => {
  const coming = page.waitForEvent('download');
  await page.getByRole('link', { name: 'CSV' }).click();
  const file = await readFile(await (await coming).path(), 'utf8');
  const lines = file.trimEnd().split('\r\n');
  assert.equal(lines[0], 'device,name,metric,time,time_ms,arrived_ms,value');
  const perSeries = lines.slice(1).filter((line) => line.includes('Cellar,temperature')).length;
  assert.ok(perSeries > 2_800 && perSeries < 3_000, `${perSeries} points in 30 days`);
  assert.ok(lines.some((line) => line.includes('Kitchen,door') && line.endsWith(',open')));
});

test('a unit is shown wherever the metric is', async () => {
  await page.getByRole('link', { name: 'Units and retention' }).click();
  await page.getByRole('button', { name: 'Edit temperature' }).click();
  await dialog().getByLabel('Called').fill('Temperature');
  await dialog().getByLabel('Unit').fill('°C');
  await dialog().getByLabel('Decimals').fill('1');
  await dialog().getByRole('button', { name: 'Save' }).click();
  await page.getByRole('cell', { name: '°C' }).waitFor();
  await goto(`/devices/${series[0]}?range=30d`);
  const last = page.locator('[data-last="temperature"]');
  await last.waitFor();
  await page.waitForFunction(() =>
    document.querySelector('[data-last="temperature"]').textContent.endsWith(' °C'),
  );
  assert.match(await last.textContent(), /^\d+\.\d °C$/);
  await page.getByRole('cell', { name: 'Temperature', exact: true }).waitFor();
});

nothingWentWrong();
