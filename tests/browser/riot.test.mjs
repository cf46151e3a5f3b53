//! RIOT nodes in a real browser: what each of them has is a card, controls say what is pending until the node reports it,
//! and nobody who may only look can press them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startNodes } from './programs.mjs';
import { api, begin, browser, button, goto, heading, hub, nothingWentWrong, page, shoot } from './stage.mjs';

const FIRMWARE = ['leds', 'bmx280', 'imu', 'robot', 'script', 'update'];
const asked = [];
let fleet;

begin({
  serve: ['--coap', '127.0.0.1:0'],
  prepare: async () => {
    page.on('request', (request) => asked.push(request.url()));
    fleet = await startNodes(hub, '127.71.0.1', FIRMWARE, ['--speed', '4']);
    for (const [name, uid] of Object.entries(fleet.nodes)) await accept(name, uid);
  },
});

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
  const before = await line.getAttribute('points');
  await page.waitForFunction(
    ([before]) => document.querySelector('polyline').getAttribute('points') !== before,
    [before],
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
