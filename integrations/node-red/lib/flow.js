//! The life of a flow that is drawn in Node-RED: it is saved and deployed when Node-RED was deployed, the status
//! of every node says where its step runs, and it is stopped when it is deleted here. It is not stopped when Node-
//! RED stops.
'use strict';

const { documentOf, stepId } = require('./drawing.js');
const { count, describe, push, statusOf } = require('./keeper.js');

/** `node` is the one with the settings of the flow; `hub` may be missing. */
function createFlow(RED, node, config, hub) {
  const members = new Map();
  const live = hub?.newLive();
  let id;
  let view = { steps: new Map(), wires: new Map() };
  /** Whether the hub has the drawing, or refused it. */
  let isSaid = false;
  /** While Node-RED starts and stops nodes, the drawing is not whole. */
  let isWhole = false;
  let work = Promise.resolve();

  const say = (status) => {
    for (const { step } of members.values()) step.status(status);
  };
  const show = () => {
    for (const { step } of members.values()) step.status(statusOf(view.steps.get(stepId(step.id))));
  };
  const next = (what) => {
    work = work.then(what).catch((error) => node.error(error.message));
  };

  async function save() {
    if (!isWhole || members.size === 0) return;
    isSaid = false;
    const drawn = [...members.values()].map(({ step, settings }) => ({ ...settings, wires: step.wires }));
    const { document, astray } = documentOf(config, drawn);
    for (const one of astray) members.get(one).step.warn(RED._('status.astray'));
    try {
      adopt(await push(hub, document, node.context().get('flow')));
      isSaid = true;
      await look();
    } catch (error) {
      if (error.flow !== undefined) adopt(error.flow);
      // Without an answer of the hub it is tried again when the link is there.
      isSaid = error.status !== undefined;
      refused(error.message);
    }
  }

  function adopt(flow) {
    node.context().set('flow', flow);
    id = flow;
    live.follow(flow);
  }

  /** A refusal names the step that is meant, if one is. */
  function refused(why) {
    const named = [...members.values()].find(({ step }) => why.includes(stepId(step.id)))?.step;
    say({ fill: 'red', shape: 'ring', text: RED._('status.refused') });
    named?.status({ fill: 'red', shape: 'dot', text: why });
    (named ?? node).error(why);
  }

  async function look() {
    if (id === undefined) return;
    view = describe(await hub.request('GET', `/api/v1/flows/${id}/placement`));
    show();
  }

  const listener = {
    state(word, why) {
      if (word === 'waits') say({ fill: 'red', shape: 'ring', text: why });
    },
    load: () => next(isSaid ? look : save),
    changes(changes) {
      const mine = changes.filter((change) => change.noun === 'flow' && change.subject === id);
      if (mine.some((change) => change.kind === 'flow_deleted')) {
        say({ fill: 'red', shape: 'ring', text: RED._('status.deleted') });
      } else if (mine.length > 0) next(look);
    },
    flow(frame) {
      if (frame.flow !== id || !Array.isArray(frame.wires)) return;
      count(
        view,
        frame.wires.map(([from, to, messages]) => ({ from, to, messages })),
      );
      show();
    },
  };
  const started = () => {
    isWhole = true;
    next(save);
  };
  const stopping = () => {
    isWhole = false;
  };
  if (live !== undefined) {
    RED.events.on('flows:started', started);
    RED.events.on('flows:stopping', stopping);
  }
  const unlisten = live?.listen(listener) ?? (() => undefined);

  return {
    /** Adds the node of a step; it is taken out when that node is closed. */
    add(step, settings) {
      members.set(step.id, { step, settings });
      step.on('close', () => {
        if (members.get(step.id)?.step === step) members.delete(step.id);
      });
    },
    /** Ends this, and the flow on the boards too if it was deleted here. */
    async close(isDeleted) {
      RED.events.removeListener('flows:started', started);
      RED.events.removeListener('flows:stopping', stopping);
      unlisten();
      await work;
      if (!isDeleted || id === undefined) return;
      try {
        await hub.request('POST', `/api/v1/flows/${id}/stop`);
      } catch (error) {
        // Somebody stopped or deleted it in Motehub.
        if (error.status !== 404 && error.status !== 409) throw error;
      }
    },
  };
}

module.exports = { createFlow };
