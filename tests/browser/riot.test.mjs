//! RIOT nodes in a real browser: what each of them has is a card, controls say what is pending until the node reports it,
//! and nobody who may only look can press them.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import { atEnd, startNodes } from './programs.mjs';
import { api, begin, browser, button, dialog, follow, goto, heading, hub, nothingWentWrong, page, shoot } from './stage.mjs';

const FIRMWARE = ['leds', 'bmx280', 'imu', 'robot', 'script', 'update', 'camera'];
const [WIDTH, HEIGHT] = [320, 180];
const PICTURE = pngOf(WIDTH, HEIGHT, (x, y) => (y > 110 ? [60, 84 + (x % 40), 58] : [90 + y, 130 + y, 200]));
const asked = [];
let fleet;
let camera;

begin({
  serve: ['--coap', '127.0.0.1:0'],
  prepare: async () => {
    page.on('request', (request) => asked.push(request.url()));
    camera = await startCamera();
    const webcam = `${camera.origin}/yard.png`;
    fleet = await startNodes(hub, '127.71.0.1', FIRMWARE, ['--speed', '4', '--webcam', webcam]);
    for (const [name, uid] of Object.entries(fleet.nodes)) await accept(name, uid);
  },
});

/** A picture, by the colours of its points. */
function pngOf(width, height, colourAt) {
  const lines = [];
  for (let y = 0; y < height; y += 1) {
    lines.push(0);
    for (let x = 0; x < width; x += 1) lines.push(...colourAt(x, y));
  }
  const chunk = (name, data) => {
    const body = Buffer.concat([Buffer.from(name), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2], 8);
  const start = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const pixels = deflateSync(Buffer.from(lines));
  return Buffer.concat([start, chunk('IHDR', head), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))]);
}

/** A camera that counts how often it was asked, and by whom. */
async function startCamera() {
  const askers = [];
  const server = createServer((request, response) => {
    askers.push(request.headers['user-agent'] ?? '');
    response.writeHead(200, { 'content-type': 'image/png' }).end(PICTURE);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => new Promise((resolve) => server.close(resolve).closeAllConnections()));
  return { origin: `http://127.0.0.1:${server.address().port}`, askers };
}

/** Accepts a node as soon as it knocked. */
async function accept(name, uid) {
  for (;;) {
    const { items } = await api('GET', '/inbox');
    const knock = items.find((item) => item.name === uid);
    if (knock !== undefined) {
      await api('POST', `/inbox/${knock.id}/accept`, { name, without_credential: true });
      return;
    }
    await page.waitForTimeout(200);
  }
}

async function open(name) {
  await goto('/devices');
  await page.getByRole('link', { name, exact: true }).click();
  await heading(name);
  await page.getByText('Online', { exact: true }).first().waitFor();
}

const tile = (name, on = page) => on.getByRole('region', { name, exact: true });

test('an LED is switched, and pending until the node says so', async () => {
  await open('Node LED');
  const led = tile('LED');
  await led.getByText('Off', { exact: true }).waitFor();
  const written = fleet.written('led', '1');
  await led.getByRole('switch', { name: 'LED' }).click();
  await written;
  await led.getByText('On', { exact: true }).waitFor();
  await led.getByText('Pending').waitFor({ state: 'detached' });
  assert.equal(await led.getByRole('switch').getAttribute('aria-checked'), 'true');
  await shoot('led');

  // Of a node that is away something can be wished for all the same.
  fleet.order({ node: fleet.nodes['Node LED'], do: 'power_off' });
  const id = new URL(page.url()).pathname.split('/').at(-1);
  await api('PATCH', `/devices/${id}`, { silence_max_seconds: 5 });
  await page.getByText('Offline', { exact: true }).first().waitFor();
  await led.getByRole('switch').click();
  await led.getByText('Pending').waitFor();
  await led.getByText('On', { exact: true }).waitFor();
  await shoot('led-away');
});

test('readings have their units, and a position is on a map', async () => {
  await open('Weather Sensor');
  await tile('Temperature').getByText(/^-?\d+(\.\d+)? °C$/).waitFor();
  await tile('Pressure').getByText(/ hPa$/).waitFor();
  await tile('Humidity').getByText(/ %$/).waitFor();
  await tile('Position').getByText(/48\.7\d+° N 2\.2\d+° E/).waitFor();
  await tile('Position').getByRole('application', { name: 'Position of Weather Sensor' }).waitFor();
  await page.getByText('temperature', { exact: true }).first().waitFor();
  await shoot('weather');
});

test('motion is drawn as it comes', async () => {
  await open('IMU Unit');
  const motion = tile('Motion');
  const line = motion.getByRole('figure', { name: 'Acceleration' }).locator('polyline');
  await line.waitFor();
  // Its points move as samples come; one change could be what was recalled of the past.
  await line.evaluate(
    (drawn) =>
      new Promise((resolve) => {
        let changes = 0;
        new MutationObserver(() => (changes += 1) >= 5 && resolve()).observe(drawn, {
          attributeFilter: ['points'],
        });
      }),
  );
  const board = motion.locator('.board');
  assert.match(await board.getAttribute('style'), /matrix3d/);
  const level = motion.getByRole('button', { name: 'Put it level again' });
  await level.focus();
  await page.keyboard.press('Enter');
  await shoot('motion');
});

test('a robot is driven by its pad, with pointer and keys', async () => {
  await open('Robot');
  const robot = tile('Robot').getByRole('group', { name: 'Robot' });
  let written = fleet.written('robot', 'u');
  await robot.getByRole('button', { name: 'Forward' }).click();
  await written;
  await robot.locator('button[aria-pressed="true"][aria-label="Forward"]').waitFor();
  written = fleet.written('robot', 'l');
  await page.keyboard.press('ArrowLeft');
  await written;
  written = fleet.written('robot', 's');
  await page.keyboard.press('ArrowDown');
  await written;
  await robot.locator('button[aria-pressed="true"][aria-label="Stop"]').waitFor();
});

test('a joystick says where it is held, and stops when it is let go', async () => {
  const stick = tile('Joystick').getByRole('application', { name: 'Joystick' });
  let written = fleet.written('ribot', '0:0:0\n');
  await stick.hover();
  await page.mouse.down();
  await written;
  const { x, y, width } = await stick.boundingBox();
  written = fleet.written('ribot', '0:-255:-255\n');
  await page.mouse.move(x + width / 2, y - 40);
  await written;
  await tile('Joystick').getByText('100 % forward').waitFor();
  await shoot('robot');
  written = fleet.written('ribot', '0:0:0\n');
  await page.mouse.up();
  await written;
  await tile('Joystick').getByText('at rest').waitFor();

  await stick.focus();
  written = fleet.written('ribot', '-64:0:-64\n');
  await page.keyboard.down('ArrowRight');
  await written;
  written = fleet.written('ribot', '0:0:0\n');
  await page.keyboard.up('ArrowRight');
  await written;
});

test('a program is changed and sent', async () => {
  await open('Node JS');
  const program = tile('Program');
  const editor = program.getByRole('textbox', { name: 'Program of the device' });
  await editor.getByText('no program yet').waitFor();
  await editor.fill('print("größe");');
  const written = fleet.written('js', 'print("größe");');
  await button('Send', program).click();
  await written;
  await program.getByText('Pending').waitFor({ state: 'detached' });
  await program.getByText('17 bytes').waitFor();
  await shoot('program');
});

test('how far an update is can be seen', async () => {
  await open('Node SUIT');
  const update = tile('Firmware update');
  await update.getByText('Downloading').waitFor();
  await update.getByRole('progressbar', { name: 'Downloaded' }).waitFor();
  await shoot('update');
});

test('a picture is fetched only when an engineer allowed it, and by the hub', async () => {
  await open('Camera');
  const picture = tile('Camera');
  await picture.getByText('only if an engineer allows that').waitFor();
  assert.deepEqual(camera.askers, []);
  await shoot('camera-not-allowed');
  await button(`Allow ${camera.origin}`, picture).click();
  await button('Allow', dialog()).click();
  const image = picture.getByRole('img', { name: 'Camera of Camera' });
  await image.waitFor();
  assert.equal(await image.evaluate((found) => found.naturalWidth), WIDTH);
  assert.equal(camera.askers.some((asker) => asker.includes('Mozilla')), false);
  await shoot('camera');
  await button('Fetch it no more', picture).click();
  await picture.getByText('only if an engineer allows that').waitFor();
  await image.waitFor({ state: 'detached' });
});

test('all positions are on one map, which is moved by keys', async () => {
  await follow('Devices');
  await page.getByRole('link', { name: 'Map', exact: true }).click();
  const map = page.getByRole('application', { name: 'Map of devices' });
  await map.waitFor();
  const marker = page.locator('a.marker').filter({ hasText: 'Weather Sensor' });
  await marker.locator('.dot').waitFor();
  await page.getByRole('cell', { name: /48\.7\d+° N 2\.2\d+° E/ }).first().waitFor();
  await shoot('map');
  const before = await marker.getAttribute('style');
  await map.focus();
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('+');
  assert.notEqual(await marker.getAttribute('style'), before);
  await page.keyboard.press('0');
  assert.equal(await marker.getAttribute('style'), before);
  await marker.locator('.dot').click();
  await heading('Weather Sensor');
});

test('who may only look can press nothing', async () => {
  const { password } = await api('POST', '/users', { name: 'bo', role: 'viewer' });
  const bo = (await browser.phone()).page;
  await bo.goto(`http://${hub.http}/devices`);
  await bo.getByLabel('Name').fill('bo');
  await bo.getByLabel('Password').fill(password);
  await button('Log in', bo).click();
  await bo.getByLabel('The password you were given').fill(password);
  await bo.getByLabel('New password', { exact: true }).fill('another long password');
  await bo.getByLabel('New password again').fill('another long password');
  await button('Change password', bo).click();
  await bo.getByRole('link', { name: 'Robot', exact: true }).click();
  await heading('Robot', bo);
  const pad = tile('Robot', bo);
  await pad.getByRole('button', { name: 'Forward' }).waitFor();
  assert.equal(await pad.locator('button:not(:disabled)').count(), 0);
  const stick = tile('Joystick', bo).getByRole('application');
  assert.equal(await stick.getAttribute('aria-disabled'), 'true');
  assert.equal(await stick.getAttribute('tabindex'), '-1');
  await bo.goto(`http://${hub.http}/devices`);
  await bo.getByRole('link', { name: 'Node LED', exact: true }).click();
  assert.equal(await tile('LED', bo).getByRole('switch').isDisabled(), true);
  await bo.goto(`http://${hub.http}/devices`);
  await bo.getByRole('link', { name: 'Node JS', exact: true }).click();
  assert.equal(await button('Send', tile('Program', bo)).isDisabled(), true);
  // On a phone nothing is wider than the screen.
  assert.equal(await bo.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
});

test('no request left the hub', () => {
  assert.deepEqual(
    asked.filter((url) => !url.startsWith(`http://${hub.http}/`) && !url.startsWith('data:')),
    [],
  );
});

nothingWentWrong();
