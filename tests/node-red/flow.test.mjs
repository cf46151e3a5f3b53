//! A flow that is drawn in a real Node-RED runs on boards, is shown there, and goes on when Node-RED is stopped.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { folder } from '../browser/programs.mjs';
import { openBoards, openHub, openNodeRed, subscribe, until } from './stage.mjs';

const TAB = { id: 'tab', type: 'tab', label: 'Climate' };
const TOPIC = 'climate/good';

let hub;
let red;
let home;
let fleet;

const drawn = { z: 'tab', x: 100, y: 100 };
const step = (id, type, more) => ({
  ...drawn,
  id,
  type,
  flow: 'flow',
  requires: '',
  prefers: '',
  runsOn: '',
  ...more,
});
const compare = (id, property, operator, value) =>
  step(id, 'motehub-step', {
    kind: 'compare',
    settings: { property, rules: [{ operator, value }], emits: 'result' },
    prefers: 'micropython',
    wires: [['both']],
  });

/** A sensor, two comparisons, both of them, and out; and a way in. `limit` is what is warm, in °C. */
function drawing(limit, more = {}) {
  return [
    TAB,
    {
      id: 'hub',
      type: 'motehub-hub',
      address: `http://${hub.http}`,
      broker: `mqtt://${hub.mqtt}`,
      credentials: { token: hub.nodeRedToken },
    },
    { id: 'flow', type: 'motehub-flow', name: 'climate', hub: 'hub', boards: '', takeOver: false },
    step('th', 'motehub-source', {
      name: 'Kitchen',
      kind: 'sensor',
      settings: { sensor: 'dht22', pin: 4, every_ms: 200 },
      requires: 'temperature humidity',
      wires: [['warm', 'dry']],
      ...more,
    }),
    compare('warm', 'temperature', 'gt', limit),
    compare('dry', 'humidity', 'gte', 0),
    step('both', 'motehub-step', { kind: 'and', settings: {}, wires: [['pass']] }),
    step('pass', 'motehub-step', { kind: 'pass', settings: {}, wires: [['out']] }),
    step('out', 'motehub-out', { topic: TOPIC, wires: [['seen']] }),
    { ...drawn, id: 'press', type: 'inject', props: [{ p: 'payload', v: '21', vt: 'num' }], wires: [['in']] },
    step('in', 'motehub-in', { topic: '', wires: [['twice']] }),
    step('twice', 'motehub-step', {
      kind: 'expression',
      settings: { expression: 'value * 2' },
      wires: [['back']],
    }),
    step('back', 'motehub-out', { topic: '', wires: [['doubled']] }),
    ...['seen', 'doubled'].map((id) => ({
      ...drawn,
      id,
      type: 'debug',
      active: true,
      tosidebar: true,
      complete: 'payload',
    })),
  ];
}

const STEPS = ['th', 'warm', 'dry', 'both', 'pass', 'out', 'in', 'twice', 'back'];
const isPlaced = ({ fill }) => fill === 'green';
const shownPlace = (id) => red.statuses.get(id).text.split(' · ')[0];
const flow = async () => (await hub.call('GET', '/flows?q=climate')).items[0];

before(async () => {
  hub = await openHub();
  fleet = await openBoards(hub, ['Bench 1', 'Bench 2'], ['temperature', 'humidity']);
  home = await folder();
  red = await openNodeRed(home);
  await red.deploy(drawing(-100));
});

test('a drawing is deployed, and every node shows where its step runs', async () => {
  for (const id of STEPS) await red.status(id, isPlaced);
  assert.match(red.statuses.get('th').text, /^Bench [12]$/);
  const { id } = await flow();
  await until('the placement is what the nodes show', async () => {
    const { steps, settled } = await hub.call('GET', `/flows/${id}/placement`);
    const isShown = ({ step: one, place }) => shownPlace(one) === (place.hub ? 'hub' : place.name);
    return settled && steps.every(isShown);
  });
  assert.equal(shownPlace('out'), 'hub');
});

test('values come out of the flow, and go into it', async () => {
  assert.equal(await red.message('seen'), true);
  await red.press('press');
  assert.equal(await red.message('doubled'), 42);
  await red.status('out', ({ text }) => /^hub · \d+$/.test(text));
});

test('only another drawing makes another version', async () => {
  const { id } = await flow();
  const mark = red.messages.length;
  // What is shown is known only when the hub was asked whether it has the drawing.
  red.statuses.clear();
  await red.deploy(drawing(-100, { x: 500 }));
  for (const one of STEPS) await red.status(one, isPlaced);
  assert.equal((await flow()).latest_version, 1);
  await red.deploy(drawing(100), 'nodes');
  assert.equal(await red.message('seen', (value) => value === false, mark), false);
  const { latest_version: latest, deployed } = await flow();
  assert.deepEqual([latest, deployed, (await flow()).id], [2, 2, id]);
});

test('a drawing that cannot be is refused at the step that is meant', async () => {
  await red.deploy(drawing(100, { requires: 'co2' }), 'nodes');
  const status = await red.status('th', ({ fill, text }) => fill === 'red' && text !== 'not deployed');
  assert.match(status.text, /co2/);
  assert.equal((await flow()).deployed, 2, 'what ran goes on');
  const mark = red.messages.length;
  await red.deploy(drawing(-100), 'nodes');
  await red.status('th', isPlaced);
  // Boards run it, and no longer the one before.
  await red.message('seen', (value) => value === true, mark);
});

test('Node-RED is stopped, and the flow goes on on the boards', async () => {
  const { id, latest_version: latest } = await flow();
  await red.stop();
  const heard = await subscribe(hub, TOPIC);
  assert.deepEqual(await heard.more(10), Array(10).fill('true'));
  assert.equal((await flow()).state, 'running');

  red = await openNodeRed(home);
  for (const one of STEPS) await red.status(one, isPlaced);
  assert.equal(await red.message('seen'), true);
  assert.deepEqual(
    [(await flow()).id, (await flow()).latest_version],
    [id, latest],
    'it knows its drawing again',
  );
});

test('a board goes, and its steps are shown where they went', async () => {
  const before = shownPlace('th');
  const board = fleet.boards.find(({ name }) => name === before);
  fleet.order({ board: board.id, do: 'power_cut' });
  await red.status(
    'th',
    ({ fill, text }) => fill === 'green' && text.startsWith('Bench') && !text.startsWith(before),
  );
  const mark = red.messages.length;
  await red.message('seen', (value) => value === true, mark);
});

test('a flow that is deleted in Node-RED is stopped, and stays in Motehub', async () => {
  await red.deploy(drawing(0).filter((node) => node.flow !== 'flow' && node.id !== 'flow'));
  await until('the flow is stopped', async () => (await flow()).state === 'stopped');
});
