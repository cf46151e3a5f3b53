//! A flow in a real browser, over three boards on the real MicroPython interpreter: it is drawn with the mouse and by the
//! keyboard alone, a mistake is shown in its place, it is deployed, values move along its wires, a board dies and its steps
//! go elsewhere, a dry run changes nothing, and an older version comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { folder, startMicropython } from './programs.mjs';
import {
  api,
  begin,
  browser,
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

const BOARDS = ['bench-1', 'bench-2', 'bench-3'];
const devices = {};
let boards;

begin({
  prepare: async () => {
    const made = [];
    for (const name of BOARDS) {
      const device = await api('POST', '/devices', { name, dialect: 'micropython', tags: ['bench'] });
      devices[name] = device.id;
      made.push(device);
    }
    boards = await startMicropython(hub, made, await folder());
    for (const name of BOARDS) await isReady(name);
  },
});

/** Every board said what it can do. */
async function isReady(name) {
  await goto(`/devices/${devices[name]}`);
  await page.getByText('micropython', { exact: true }).first().waitFor();
}

const step = (id) => page.locator(`.svelte-flow__node[data-id="${id}"]`);
/** Waits until so many wires are drawn. */
const wires = (count) =>
  page.waitForFunction((count) => document.querySelectorAll('.svelte-flow__edge').length === count, count);
const canvas = () => page.locator('.canvas');
const palette = (name) => button(`Add ${name}`);
const panel = () => page.getByRole('complementary', { name: 'Settings' });
const field = (name) => panel().getByLabel(name, { exact: true });
const card = (name) => page.getByRole('region', { name, exact: true });

/** Drags a kind of step from the palette to the canvas. */
async function drop(name, x, y) {
  await palette(name).dragTo(canvas(), { targetPosition: { x, y } });
}

/** Draws a wire with the mouse. */
async function draw(from, to) {
  const middle = async (end) => {
    const { x, y, width, height } = await end.boundingBox();
    return [x + width / 2, y + height / 2];
  };
  await page.mouse.move(...(await middle(step(from).locator('.svelte-flow__handle.source'))));
  await page.mouse.down();
  await page.mouse.move(...(await middle(step(to).locator('.svelte-flow__handle.target'))), { steps: 12 });
  await page.mouse.up();
}

/** Goes on with Tab until something that fits has the focus. */
async function tabTo(fits, backwards = false) {
  for (let presses = 0; presses < 120; presses += 1) {
    await page.keyboard.press(backwards ? 'Shift+Tab' : 'Tab');
    if (await page.evaluate(fits)) return;
  }
  assert.fail(`Tab never came to ${fits}`);
}

const saved = async (name) => {
  await page.keyboard.press('Control+s');
  await heading(name);
};

/** Where a step of the open page runs, as its badge says. */
const runsOn = (id) => step(id).locator('.badge').innerText();

/** Waits until a step runs on a board, and not on this one; tells on which. */
async function onBoard(id, not = '') {
  await page.waitForFunction(
    ([name, boards]) =>
      boards.includes(document.querySelector(`.svelte-flow__node[data-id="${name}"] .badge`)?.textContent ?? ''),
    [id, BOARDS.filter((name) => name !== not)],
  );
  return runsOn(id);
}

test('a flow is drawn with the mouse, and a mistake is shown at its step and its field', async () => {
  await follow('Flows');
  await page.getByText('No flows yet').waitFor();
  await page.getByRole('link', { name: 'New flow' }).click();
  await heading('New flow');
  await page.getByLabel('Name', { exact: true }).fill('Climate');
  await drop('Sensor', 110, 120);
  await drop('Compare', 330, 70);
  await drop('Compare', 330, 210);
  await drop('And', 550, 120);
  await step('and').getByText('no wire leads to it').or(step('compare').getByText('no wire leads to it')).waitFor();
  await draw('sensor', 'compare');
  await draw('sensor', 'compare_2');
  await draw('compare', 'and');
  await draw('compare_2', 'and');
  await wires(4);

  await step('sensor').click();
  await field('Every').fill('1 s');
  await step('compare').click();
  await field('Name (optional)').fill('Warm');
  await field('Of the value (optional)').fill('temperature');
  await field('Value of rule 1').fill('5');
  await step('compare_2').click();
  await field('Of the value (optional)').fill('humidity');
  await field('Value of rule 1').fill('5');
  await step('and').click();
  await palette('Pass').click();
  await palette('Publish').click();
  await step('publish').getByText('topic: is missing').waitFor();
  await panel().getByRole('alert').getByText('is missing').waitFor();
  await button('Publish, topic: is missing').click();
  await field('Topic').fill('kitchen/climate');
  await page.getByText('Would run:').waitFor();
  await wires(6);
  await shoot('flow-drawn');
});

test('what is drawn is undone and done again, and an expression is marked where it is wrong', async () => {
  await step('pass').click();
  await palette('Expression').click();
  await field('Expression').fill('value ? 1 ! 2');
  await step('expression').getByText('expression:').waitFor();
  await panel().locator('mark').waitFor();
  await page.getByRole('region', { name: 'Drawing' }).getByRole('button', { name: 'Undo' }).click();
  await button('Undo').click();
  await step('expression').waitFor({ state: 'detached' });
  await button('Redo').click();
  await step('expression').waitFor();
  await step('expression').focus();
  await page.keyboard.press('Delete');
  await step('expression').waitFor({ state: 'detached' });
  await page.getByText('Would run:').waitFor();
  await saved('Climate');
  await wires(6);
});

test('the same is drawn by the keyboard alone', async () => {
  await goto('/flows/new');
  await page.getByLabel('Name', { exact: true }).focus();
  await page.keyboard.type('By keyboard');
  const isOn = (text) => `document.activeElement?.getAttribute('aria-label') === '${text}'`;
  const isStep = (id) => `document.activeElement?.dataset.id === '${id}'`;
  const press = async (name, backwards) => {
    await tabTo(isOn(`Add ${name}`), backwards);
    await page.keyboard.press('Enter');
  };
  await press('Sensor');
  await press('Compare');
  // Back to the sensor, and a second one after it.
  await tabTo(isStep('sensor'));
  await page.keyboard.press('Enter');
  await press('Compare', true);
  await press('And');
  await tabTo(isStep('compare'));
  await page.keyboard.press('c');
  await dialog().getByRole('heading', { name: 'Connect Compare' }).waitFor();
  await tabTo(
    `document.activeElement?.innerText.startsWith('And') && document.activeElement.closest('[aria-label=To]') !== null`,
  );
  await page.keyboard.press('Enter');
  await dialog().waitFor({ state: 'detached' });
  await tabTo(isStep('and'));
  await page.keyboard.press('Enter');
  await press('Pass', true);
  await press('Publish');
  const isField = (text) =>
    `document.activeElement?.labels?.[0]?.innerText === '${text}' || document.activeElement?.getAttribute('aria-label') === '${text}'`;
  await tabTo(isField('Topic'));
  await page.keyboard.type('kitchen/keyboard');
  for (const [id, part] of [
    ['compare', 'temperature'],
    ['compare_2', 'humidity'],
  ]) {
    await tabTo(isStep(id), true);
    await page.keyboard.press('Enter');
    await tabTo(isField('Of the value (optional)'));
    await page.keyboard.type(part);
  }
  await tabTo(isStep('sensor'), true);
  const before = await step('sensor').boundingBox();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Shift+ArrowDown');
  await page.getByText('Would run:').waitFor();
  assert.ok((await step('sensor').boundingBox()).y > before.y, 'the arrows move it');
  await saved('By keyboard');
  const { items } = await api('GET', '/flows?q=keyboard');
  const { graph } = await api('GET', `/flows/${items[0].id}`);
  assert.deepEqual(graph.wires.map(({ from, to }) => `${from}>${to}`).sort(), [
    'and>pass',
    'compare>and',
    'compare_2>and',
    'pass>publish',
    'sensor>compare',
    'sensor>compare_2',
  ]);
  await api('DELETE', `/flows/${items[0].id}`);
});

test('it is deployed: every step says where it runs, and values move along the wires', async () => {
  await goto('/flows');
  await page.getByRole('link', { name: 'Climate', exact: true }).click();
  await heading('Climate');
  await button('Deploy').click();
  await dialog().getByText('It would run:').waitFor();
  await dialog().getByRole('button', { name: 'Deploy', exact: true }).click();
  await page.getByText('Running', { exact: true }).waitFor();
  await step('publish').getByText('Hub', { exact: true }).waitFor();
  for (const id of ['sensor', 'compare', 'compare_2', 'and', 'pass']) await onBoard(id);
  await page.locator('.svelte-flow__edge-label').first().waitFor();
  const count = () =>
    page.evaluate(() =>
      Math.max(...[...document.querySelectorAll('.svelte-flow__edge-label')].map((one) => Number(one.innerText))),
    );
  const first = await count();
  await page.waitForFunction(
    (seen) =>
      [...document.querySelectorAll('.svelte-flow__edge-label')].some((one) => Number(one.innerText) > seen + 3),
    first,
  );
  await card('Boards').getByText('Runs', { exact: true }).first().waitFor();
  await button('How boards were compared for Warm').click();
  await page.getByRole('table', { name: 'Score of Warm' }).getByText('chosen', { exact: true }).waitFor();
  await shoot('flow-running');
});

test('the program of a board can be read', async () => {
  const name = await onBoard('sensor');
  await button(`Program of ${name}`).click();
  await dialog().getByText('import motehub').first().waitFor();
  await dialog().getByText('sha256').waitFor();
  await dialog().getByRole('button', { name: 'Close' }).click();
});

test('a dry run shows what would move if a board died, and moves nothing', async () => {
  const name = await onBoard('sensor');
  await page.getByRole('checkbox', { name, exact: true }).check();
  await button('Show where it would run').click();
  const trial = page.getByRole('status', { name: 'Dry run' });
  await trial.getByText(`Dry run without ${name}:`).waitFor();
  await step('sensor').getByText(`${name} →`).waitFor();
  await shoot('flow-dry-run');
  await trial.getByRole('button', { name: 'End the dry run' }).click();
  assert.equal(await runsOn('sensor'), name);
});

test('a board dies: its steps go elsewhere, with the cause, and values go on', async () => {
  const name = await onBoard('sensor');
  boards.order({ board: devices[name], do: 'power_cut' });
  const other = await onBoard('sensor', name);
  await card('What moved, and why').getByText(name).first().waitFor();
  const moved = await api('GET', `/flows/${new URL(page.url()).pathname.split('/').pop()}/placements`);
  const [last] = moved.items.filter((item) => item.cause.includes(name));
  assert.ok(
    last.moves.some((move) => move.step === 'sensor' && move.from.name === name),
    JSON.stringify(moved.items),
  );
  await step('sensor')
    .getByText(await runsOn('sensor'))
    .waitFor();
  await goto('/activity');
  await page.getByText('moved steps of the flow').first().waitFor();
  boards.order({ board: devices[name], do: 'power_on' });
});

test('a new version is compared with the old one, deployed, and rolled back', async () => {
  await goto('/flows');
  await page.getByRole('link', { name: 'Climate', exact: true }).click();
  await heading('Climate');
  await step('compare').click();
  await field('Value of rule 1').fill('30');
  await page.keyboard.press('Control+s');
  await dialog().getByLabel('What has changed (optional)').fill('warmer');
  await dialog().getByRole('button', { name: 'Save version 2' }).click();
  await page.getByText('Saved as version 2.').waitFor();
  await page.getByText('warmer', { exact: true }).waitFor();
  await card('Versions').getByRole('button', { name: 'Show' }).click();
  await card('Version 1 compared with version 2').getByText('Warm', { exact: true }).waitFor();
  await button('Deploy').click();
  await dialog().getByText('Version 1 runs now.').waitFor();
  await dialog().getByRole('button', { name: 'Deploy', exact: true }).click();
  await page.getByText('Version 2 runs.').waitFor();
  await button('Deploy version 1').click();
  await dialog().getByRole('heading', { name: 'Roll Climate back to version 1' }).waitFor();
  await dialog().getByRole('button', { name: 'Roll back' }).click();
  await page.getByText('Version 1 runs.').waitFor();
  await page.getByText('version 1 runs', { exact: false }).first().waitFor();
});

test('what no board can run is refused, and the refusal leads to the step', async () => {
  await step('compare').click();
  await field('Requires').fill('tea-kettle');
  await page.keyboard.press('Control+s');
  await dialog().getByRole('button', { name: 'Save version 3' }).click();
  await page.getByText('Saved as version 3.').waitFor();
  await button('Deploy').click();
  await dialog().getByText('has no place').waitFor();
  await dialog().getByRole('button', { name: 'Deploy', exact: true }).click();
  await dialog().getByRole('alert').getByText('Warm, requires: no board has tea-kettle').waitFor();
  await dialog().getByRole('button', { name: 'Show Warm' }).click();
  await dialog().waitFor({ state: 'detached' });
  assert.equal(await field('Requires').inputValue(), 'tea-kettle');
});

test('flows of Node-RED are imported with what could not be taken over', async () => {
  const nodes = [
    { id: 't1', type: 'tab', label: 'From Node-RED' },
    {
      id: 'n1',
      type: 'temperature-humidity',
      z: 't1',
      name: 'Hall',
      predicates: 'micropython',
      priorities: '',
      pin: '4',
      repeat: true,
      interval: '5000',
      x: 140,
      y: 200,
      wires: [['n2']],
    },
    {
      id: 'n2',
      type: 'if',
      z: 't1',
      name: 'Cold',
      property: 'payload.temperature',
      propertyType: 'msg',
      rules: [{ t: 'lt', v: '15', vt: 'num' }],
      x: 330,
      y: 160,
      wires: [['n3']],
    },
    {
      id: 'n3',
      type: 'mqtt out',
      z: 't1',
      name: '',
      topic: 'hall/cold',
      qos: '',
      retain: '',
      x: 560,
      y: 160,
      wires: [],
    },
    { id: 'n4', type: 'ui_chart', z: 't1', name: 'Chart', x: 560, y: 260, wires: [] },
  ];
  await goto('/flows');
  await button('Import from Node-RED').click();
  await dialog().getByLabel('Or paste the JSON').fill(JSON.stringify(nodes));
  await dialog().getByRole('button', { name: 'Look at it' }).click();
  await dialog().getByText('From Node-RED', { exact: true }).waitFor();
  await dialog().getByRole('region', { name: 'Warnings' }).getByText('ui_chart').waitFor();
  await dialog().getByRole('button', { name: 'Import one flow' }).click();
  await heading('From Node-RED');
  await page.getByText('temperature < 15').waitFor();
});

test('on a phone a flow is read and drawn, and nothing is wider than the screen', async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  for (const path of ['/flows', new URL(page.url()).pathname, '/flows/new']) {
    await goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, `${path} is too wide`);
  }
  await palette('Timer').click();
  await palette('Publish').click();
  await wires(1);
  await field('Topic').fill('phone');
  await page.getByText('Would run: 1 on').waitFor();
  await page.setViewportSize({ width: 1280, height: 900 });
});

test('who may only look sees all of it, and nothing to press', async () => {
  const { password } = await api('POST', '/users', { name: 'bo', role: 'viewer' });
  const other = await browser.phone();
  await other.page.goto(`http://${hub.http}/login`);
  const sent = await other.page.evaluate(
    async ([name, given]) => {
      const post = (path, body, csrf) =>
        fetch(`/api/v1${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...(csrf ? { 'x-csrf-token': csrf } : {}) },
          body: JSON.stringify(body),
        });
      const me = await (await post('/login', { name, password: given })).json();
      return (await post('/me/password', { current: given, new: 'another long password' }, me.csrf)).status;
    },
    ['bo', password],
  );
  assert.equal(sent, 204);
  await other.page.goto(`http://${hub.http}/flows`);
  await other.page.getByRole('link', { name: 'Climate', exact: true }).click();
  await other.page.locator('.svelte-flow__node[data-id="sensor"] .badge').waitFor();
  assert.equal(await other.page.getByRole('button', { name: /^Add |^Deploy|^Stop|^Delete/ }).count(), 0);
  assert.deepEqual(other.wrongs, []);
});

test('a flow is stopped', async () => {
  await goto('/flows');
  await page.getByRole('link', { name: 'Climate', exact: true }).click();
  await button('Stop').click();
  await dialog().getByRole('button', { name: 'Stop', exact: true }).click();
  await page.getByText('Climate is stopped.').waitFor();
  await page.getByText('Stopped', { exact: true }).waitFor();
  await goto('/flows');
  await row('Climate').getByText('Stopped', { exact: true }).waitFor();
});

// The hub refuses what is drawn half, and what cannot be placed: that is asked for on purpose.
nothingWentWrong(
  (wrong) => /status of 400.*\/flows\/check\)/.test(wrong) || /status of 409.*\/flows\/\w+\/deploy\)/.test(wrong),
);
