//! Keeps a flow of a hub as it is drawn in Node-RED: saves it when the drawing changed, deploys it, and knows
//! where its steps run. What is deployed stays when Node-RED stops.
'use strict';

const { digestOf } = require('./drawing.js');

/** The comment of a version says which drawing it is: so Node-RED knows it again after it was restarted. */
const commentOf = (digest) => `Drawn in Node-RED (${digest})`;

/** Saves and deploys what is not so yet. Resolves to the id of the flow. `known`: its id, if that was known before. */
async function push(hub, document, known) {
  const comment = commentOf(digestOf(document));
  const flow = await current(hub, document.name, known);
  if (flow === null) {
    const made = await hub.request('POST', '/api/v1/flows', { ...document, comment });
    await deploy(hub, made.id, 1);
    return made.id;
  }
  if (flow.name !== document.name) {
    await hub.request('PATCH', `/api/v1/flows/${flow.id}`, { name: document.name });
  }
  const { items } = await hub.request('GET', `/api/v1/flows/${flow.id}/versions`);
  const latest = items.find((one) => one.version === flow.latest_version);
  let version = flow.latest_version;
  if (latest?.comment !== comment) {
    const { name: _name, ...graph } = document;
    const saved = await hub.request('POST', `/api/v1/flows/${flow.id}/versions`, { ...graph, comment });
    version = saved.latest_version;
  }
  if (flow.deployed !== version) await deploy(hub, flow.id, version);
  return flow.id;
}

/** A refused deployment does not undo that the flow is saved: the error knows its id. */
async function deploy(hub, id, version) {
  try {
    await hub.request('POST', `/api/v1/flows/${id}/deploy`, { version });
  } catch (error) {
    throw Object.assign(error, { flow: id });
  }
}

async function current(hub, name, known) {
  if (known !== undefined) {
    try {
      return await hub.request('GET', `/api/v1/flows/${known}`);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  }
  const query = new URLSearchParams({ q: name, limit: '1000' });
  const { items } = await hub.request('GET', `/api/v1/flows?${query}`);
  // Names of flows are unique without regard to case.
  return items.find((flow) => flow.name.toLowerCase() === name.toLowerCase()) ?? null;
}

/** What a placement says of each step, by its id: where it runs or why nowhere, its last error. And of each wire. */
function describe(placement) {
  const view = { steps: new Map(), wires: new Map() };
  for (const { step, place, why } of placement.steps) {
    view.steps.set(step, { place: placeOf(place), why, error: null, values: 0 });
  }
  for (const { step, message } of placement.errors ?? []) {
    if (view.steps.has(step)) view.steps.get(step).error = message;
  }
  count(view, placement.wires ?? []);
  return view;
}

const placeOf = (place) => (place?.hub ? 'hub' : (place?.name ?? place?.device ?? null));

/** What a step gave goes along each of its wires; a step that gives nothing is told what it took. */
function count(view, wires) {
  for (const wire of wires) view.wires.set(`${wire.from}>${wire.to}`, wire);
  const all = [...view.wires.values()];
  for (const [id, step] of view.steps) {
    const given = all.filter(({ from }) => from === id).map(({ messages }) => messages);
    const taken = all.filter(({ to }) => to === id).map(({ messages }) => messages);
    step.values = given.length > 0 ? Math.max(...given) : taken.reduce((sum, messages) => sum + messages, 0);
  }
}

/** The status of the node of a step. */
function statusOf(step) {
  if (step === undefined) return {};
  if (step.error !== null) return { fill: 'red', shape: 'dot', text: step.error };
  if (step.place === null) return { fill: 'red', shape: 'ring', text: step.why };
  return {
    fill: 'green',
    shape: 'dot',
    text: step.values > 0 ? `${step.place} · ${step.values}` : step.place,
  };
}

module.exports = { count, describe, push, statusOf };
