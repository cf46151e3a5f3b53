//! The editor of a real Node-RED in a real browser: a flow is changed in a dialog and deployed by the button.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { folder, openBrowser } from '../browser/programs.mjs';
import { openHub, openNodeRed, subscribe, until } from './stage.mjs';

const TOPIC = 'clock/late';
const TYPES = [
  'event',
  'telemetry',
  'presence',
  'desired',
  'command',
  'deploy',
  'source',
  'step',
  'sink',
  'failure',
  'in',
  'out',
];

let hub;
let red;
let page;
let wrongs;

const step = (id, type, x, more) => ({
  id,
  type,
  z: 'tab',
  x,
  y: 100,
  name: '',
  flow: 'flow',
  requires: '',
  prefers: '',
  runsOn: 'hub',
  ...more,
});

before(async () => {
  hub = await openHub();
  red = await openNodeRed(await folder());
  await red.deploy([
    { id: 'tab', type: 'tab', label: 'Clock' },
    {
      id: 'hub',
      type: 'motehub-hub',
      address: `http://${hub.http}`,
      credentials: { token: hub.nodeRedToken },
    },
    { id: 'flow', type: 'motehub-flow', name: 'clock', hub: 'hub', boards: '', takeOver: false },
    step('timer', 'motehub-source', 100, {
      kind: 'timer',
      settings: { every_ms: 100, value: 21 },
      wires: [['late']],
    }),
    step('late', 'motehub-step', 300, {
      kind: 'compare',
      settings: { rules: [{ operator: 'gt', value: 20 }], emits: 'result' },
      wires: [['out']],
    }),
    step('out', 'motehub-sink', 500, {
      kind: 'publish',
      settings: { topic: TOPIC, retain: false },
      wires: [],
    }),
  ]);
  await red.status('out', ({ text }) => /^hub · \d+$/.test(text));
  ({ page, wrongs } = await openBrowser());
  await page.goto(red.address);
  await page.locator('#late').waitFor();
});

/** Opens the dialog of a node, as a double click does. */
async function edit(id) {
  await page.evaluate((one) => globalThis.RED.editor.edit(globalThis.RED.nodes.node(one)), id);
  await page.getByRole('button', { name: 'Done' }).waitFor();
}

test('every node is in the palette, with its help', async () => {
  const html = await (await red.call('GET', '/nodes', undefined, { Accept: 'text/html' })).text();
  for (const type of TYPES.map((name) => `motehub-${name}`)) {
    await page.locator(`.red-ui-palette-node[data-palette-type="${type}"]`).waitFor({ state: 'attached' });
    assert.ok(html.includes(`data-help-name="${type}"`), type);
  }
});

test('the nodes of a flow are valid as they are, and a dialog that is closed unchanged changes nothing', async () => {
  for (const id of ['timer', 'late', 'out']) {
    await edit(id);
    await page.getByRole('button', { name: 'Done' }).click();
    await page.locator('#dialog-form').waitFor({ state: 'detached' });
    const node = await page.evaluate((one) => {
      const { valid, changed } = globalThis.RED.nodes.node(one);
      return { valid, changed };
    }, id);
    assert.deepEqual(node, { valid: true, changed: false }, id);
  }
});

test('what is changed in a dialog runs after Deploy', async () => {
  const heard = await subscribe(hub, TOPIC);
  assert.deepEqual(await heard.more(2), ['true', 'true']);
  await edit('late');
  const value = page.getByLabel('Value');
  assert.equal(await value.inputValue(), '20');
  await value.fill('30');
  await page.getByLabel('Emits').selectOption('result');
  await page.getByRole('button', { name: 'Done' }).click();
  await page.locator('#red-ui-header-button-deploy').click();
  await until('the flow has another version', async () => {
    const { items } = await hub.call('GET', '/flows?q=clock');
    return items[0].deployed === 2;
  });
  await until('the new version runs', async () => (await heard.more(1))[0] === 'false');
  const { items } = await hub.call('GET', '/flows?q=clock');
  const { graph } = await hub.call('GET', `/flows/${items[0].id}`);
  const late = graph.steps.find(({ id }) => id === 'late');
  assert.deepEqual(late.rules, [{ operator: 'gt', value: 30 }]);
});

test('nothing went wrong in the editor', () => {
  // It looks for the list of all nodes there are, which is on the internet.
  assert.deepEqual(
    wrongs.filter((wrong) => !wrong.includes('catalogue.nodered.org')),
    [],
  );
});
