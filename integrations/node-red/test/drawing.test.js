//! What is drawn becomes a document, and the hub gets it once.
'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { digestOf, documentOf } = require('../lib/drawing.js');
const { count, describe, push, statusOf } = require('../lib/keeper.js');

const example = (name) =>
  JSON.parse(readFileSync(path.join(__dirname, '../examples', `${name}.json`), 'utf8'));
const sensor = {
  id: 'a.1',
  type: 'motehub-source',
  name: ' Kitchen ',
  kind: 'sensor',
  settings: { sensor: 'dht22', pin: 4, every_ms: 5000 },
  requires: 'temperature, humidity',
  prefers: '',
  runsOn: '',
  x: 40.6,
  y: 60,
  wires: [['b', 'b', 'debug']],
};
const out = { id: 'b', type: 'motehub-out', topic: '', runsOn: '', x: 1, y: 2, wires: [['debug']] };

test('a drawing is a document', () => {
  const flow = { name: 'climate', boards: ' tag=kitchen ', takeOver: true };
  const { document, astray } = documentOf(flow, [out, sensor]);
  assert.deepEqual(document, {
    name: 'climate',
    steps: [
      {
        id: 'a1',
        kind: 'sensor',
        sensor: 'dht22',
        pin: 4,
        every_ms: 5000,
        name: 'Kitchen',
        requires: ['temperature', 'humidity'],
        x: 41,
        y: 60,
      },
      { id: 'b', kind: 'publish', topic: 'node-red/b', x: 1, y: 2 },
    ],
    wires: [{ from: 'a1', to: 'b' }],
    boards: 'tag=kitchen',
    take_over: true,
  });
  assert.deepEqual(astray, ['a.1'], 'a step with a wire to a node of Node-RED');
});

test('where steps are drawn makes no other drawing, and nor does the order of nodes', () => {
  const flow = { name: 'climate' };
  const digest = (nodes) => digestOf(documentOf(flow, nodes).document);
  const first = digest([sensor, out]);
  assert.equal(digest([out, { ...sensor, x: 900 }]), first);
  assert.notEqual(digest([out, { ...sensor, requires: '' }]), first);
  assert.notEqual(digest([out, { ...sensor, wires: [[]] }]), first);
});

test('the example has one flow whose wires lead to its steps', () => {
  const nodes = example('seed flow');
  const flow = nodes.find((node) => node.type === 'motehub-flow');
  const { document, astray } = documentOf(
    flow,
    nodes.filter((node) => node.flow === flow.id),
  );
  assert.deepEqual(astray, []);
  assert.equal(document.steps.length, 6);
  assert.equal(document.wires.length, 6);
});

/** A hub with one flow in memory, and what it was asked. */
function hubWith(flow) {
  const asked = [];
  const hub = {
    async request(method, where, body) {
      asked.push(`${method} ${where.replace('/api/v1/flows', '').split('?')[0]}`);
      if (method === 'POST' && where.endsWith('/flows')) return { id: 'f', ...body };
      if (method === 'POST' && where.endsWith('/versions')) {
        flow.latest_version += 1;
        flow.comment = body.comment;
        return flow;
      }
      if (method === 'POST' && where.endsWith('/deploy')) {
        if (flow.refuse) throw Object.assign(new Error('no place'), { status: 409 });
        flow.deployed = body.version;
        return {};
      }
      if (where.includes('/versions'))
        return { items: [{ version: flow.latest_version, comment: flow.comment }] };
      if (where.includes('/f')) return where.includes('?') ? { items: flow.id ? [flow] : [] } : flow;
      throw new Error(where);
    },
  };
  return { hub, asked };
}
const { document } = documentOf({ name: 'climate' }, [sensor, out]);
const comment = `Drawn in Node-RED (${digestOf(document)})`;

test('a flow is made, saved anew or deployed as far as that is needed', async () => {
  const flow = (more) => ({ id: 'f', name: 'climate', latest_version: 3, deployed: 3, comment, ...more });
  const cases = [
    [{}, ['GET ', 'POST ', 'POST /f/deploy']],
    [flow(), ['GET ', 'GET /f/versions']],
    [flow({ deployed: 2 }), ['GET ', 'GET /f/versions', 'POST /f/deploy']],
    [flow({ comment: 'by hand' }), ['GET ', 'GET /f/versions', 'POST /f/versions', 'POST /f/deploy']],
  ];
  for (const [known, expected] of cases) {
    const { hub, asked } = hubWith(known);
    assert.equal(await push(hub, document), 'f');
    assert.deepEqual(asked, expected);
  }
  const renamed = hubWith(flow({ name: 'weather' }));
  await push(renamed.hub, document, 'f');
  assert.deepEqual(renamed.asked, ['GET /f', 'PATCH /f', 'GET /f/versions']);
});

test('a flow that has no place is known nevertheless', async () => {
  await assert.rejects(push(hubWith({ refuse: true }).hub, document), {
    message: 'no place',
    flow: 'f',
    status: 409,
  });
});

test('the status of a step says where it runs, or why not, and how much it did', () => {
  const view = describe({
    steps: [
      { step: 'th', place: { device: 'd1', name: 'bench-1' }, why: 'it has the sensor' },
      { step: 'warm', place: { hub: true }, why: '' },
      { step: 'lost', place: null, why: 'no board has the capability co2' },
      { step: 'out', place: { hub: true }, why: '' },
    ],
    wires: [
      { from: 'th', to: 'warm', messages: 12 },
      { from: 'th', to: 'out', messages: 12 },
      { from: 'warm', to: 'out', messages: 5 },
    ],
    errors: [{ step: 'warm', message: 'it is no number', count: 2 }],
  });
  const text = (step) => statusOf(view.steps.get(step)).text;
  assert.deepEqual(['th', 'warm', 'lost', 'out'].map(text), [
    'bench-1 · 12',
    'it is no number',
    'no board has the capability co2',
    'hub · 17',
  ]);
  count(view, [{ from: 'warm', to: 'out', messages: 6 }]);
  assert.equal(text('out'), 'hub · 18');
  assert.deepEqual(statusOf(view.steps.get('unknown')), {});
});
