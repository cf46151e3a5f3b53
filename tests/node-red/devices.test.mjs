//! Devices in a real Node-RED: a script is deployed from there, what the board measures, reports and answers comes
//! back, and what is desired of it reaches it.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { folder } from '../browser/programs.mjs';
import { openBoards, openHub, openNodeRed, openWay, until } from './stage.mjs';

const SCRIPT = `
import asyncio
import motehub

def double(args):
    motehub.event("doubled", {"n": args["n"]})
    return {"twice": args["n"] * 2}

motehub.on_command("double", double)

async def main():
    while True:
        motehub.telemetry({"t": 21.5, "h": 40})
        await asyncio.sleep(0.2)
`;
const TAB = { id: 'tab', type: 'tab', label: 'Devices' };

let hub;
let red;
let fleet;
let way;

const config = (token) => ({
  id: 'hub',
  type: 'motehub-hub',
  address: `http://${way.address}`,
  broker: `mqtt://${hub.mqtt}`,
  credentials: { token },
});
/** What has no place on a tab is no node but settings. */
const drawn = { z: 'tab', x: 100, y: 100 };
const inject = (id, props, to) => ({ ...drawn, id, type: 'inject', props, repeat: '', wires: [[to]] });
const debug = (id) => ({
  ...drawn,
  id,
  type: 'debug',
  active: true,
  tosidebar: true,
  complete: 'true',
  targetType: 'full',
});
const node = (id, type, more) => ({
  ...drawn,
  id,
  type,
  hub: 'hub',
  by: 'device',
  which: 'Kitchen',
  ...more,
});

before(async () => {
  hub = await openHub();
  way = await openWay(hub.http);
  fleet = await openBoards(hub, ['Kitchen']);
  red = await openNodeRed(await folder());
  const source = [
    { p: 'source', v: SCRIPT, vt: 'str' },
    { p: 'language', v: 'python', vt: 'str' },
  ];
  await red.deploy([
    TAB,
    config(hub.nodeRedToken),
    inject('give', source, 'deploy'),
    node('deploy', 'motehub-deploy', { script: 'kitchen', health: '5', wires: [['progress'], ['outcome']] }),
    node('telemetry', 'motehub-telemetry', { metric: 't', wires: [['measured']] }),
    node('event', 'motehub-event', { kinds: 'device_event', wires: [['happened']] }),
    node('presence', 'motehub-presence', {
      by: 'selector',
      which: 'name = "Kitchen"',
      initial: true,
      wires: [['there']],
    }),
    inject('ask', [{ p: 'payload', v: '{"n":21}', vt: 'json' }], 'command'),
    inject('ask badly', [{ p: 'payload', v: '{}', vt: 'json' }], 'command'),
    node('command', 'motehub-command', {
      command: 'double',
      expires: '30',
      wires: [['answered'], ['refused']],
    }),
    inject('wish', [{ p: 'payload', v: 'true', vt: 'bool' }], 'desired'),
    node('desired', 'motehub-desired', { path: 'light.on', wires: [['wished']] }),
    inject('wish nobody', [{ p: 'device', v: 'Attic', vt: 'str' }], 'desired'),
    { ...drawn, id: 'catch', type: 'catch', scope: ['desired'], wires: [['caught']] },
    ...[
      'progress',
      'outcome',
      'measured',
      'happened',
      'there',
      'answered',
      'refused',
      'wished',
      'caught',
    ].map(debug),
  ]);
  await red.message('there', (msg) => msg.payload === true);
});

test('a script is deployed from Node-RED, and how it goes is told', async () => {
  await red.press('give');
  const outcome = await red.message('outcome');
  assert.equal(outcome.payload.tasks[0].state, 'Done', JSON.stringify(outcome));
  const progress = await red.message('progress');
  assert.equal(progress.payload.total, 1);
  assert.match(red.statuses.get('deploy').text, /1\/1/);
});

test('what the board measures comes, of the metric that is wanted', async () => {
  const measured = await red.message('measured');
  const { topic, payload, metric, device } = measured;
  assert.deepEqual(
    { topic, payload, metric, device: device.name },
    { topic: 'Kitchen/t', payload: 21.5, metric: 't', device: 'Kitchen' },
  );
  assert.ok(red.messages.every((one) => one.id !== 'measured' || one.msg.metric === 't'));
});

test('a command comes back with its answer, and one that fails with the reason', async () => {
  await red.press('ask');
  const answer = await red.message('answered');
  assert.deepEqual(answer.payload, { twice: 42 });
  assert.equal(answer.device.name, 'Kitchen');
  const event = await red.message('happened');
  assert.deepEqual([event.topic, event.payload], ['doubled', { n: 21 }]);
  await red.press('ask badly');
  const refused = await red.message('refused');
  assert.equal(refused.state, 'Failed');
  assert.match(refused.reason, /n/);
});

test('what is desired is in the shadow, and a device that is not there is an error that can be caught', async () => {
  await red.press('wish');
  const wished = await red.message('wished');
  const [board] = fleet.boards;
  const { state } = await hub.call('GET', `/devices/${board.id}/shadow`);
  assert.deepEqual(state.desired, { light: { on: true } });
  assert.equal(wished.version, 1);
  await red.press('wish nobody');
  const caught = await red.message('caught');
  assert.equal(caught.error.message, 'there is no device Attic');
});

test('what happens while the hub cannot be reached comes afterwards, once', async () => {
  const seen = () => red.messages.filter((one) => one.id === 'happened').map((one) => one.msg.payload.n);
  const before = seen().length;
  way.cut();
  await red.status('event', (status) => status.fill === 'red');
  const [board] = fleet.boards;
  for (const n of [1, 2, 3]) {
    const { id } = await hub.call('POST', '/commands', { name: 'double', device: board.id, args: { n } });
    await until('the board answered', async () => {
      const { items } = await hub.call('GET', `/commands/${id}/executions`);
      return items[0].state === 'Done';
    });
  }
  assert.equal(seen().length, before);
  way.mend();
  await red.message('happened', (msg) => msg.payload.n === 3);
  await red.press('ask');
  await red.message('happened', () => seen().length === before + 4);
  assert.deepEqual(seen().slice(before), [1, 2, 3, 21]);
});

test('a board that goes is told', async () => {
  const mark = red.messages.length;
  await fleet.stop();
  await red.message('there', (msg) => msg.payload === false, mark);
});

test('the token is kept as a credential, and a wrong one is said', async () => {
  const saved = await (await red.call('GET', '/flows')).text();
  assert.ok(!saved.includes(hub.nodeRedToken), 'the token is in the flow');
  const [, ...rest] = JSON.parse(saved);
  const flows = [TAB, config('wrong'), ...rest.filter((one) => one.id !== 'hub')];
  await red.deploy(flows);
  await red.status('telemetry', (status) => status.text === 'the hub does not know the API token');
  await until('Node-RED still runs', async () => (await red.call('GET', '/settings')).ok);
});
