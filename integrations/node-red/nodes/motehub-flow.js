//! A flow that is drawn here and runs on the boards: the hub decides which board runs which of its steps. It is
//! saved and deployed when Node-RED is deployed, if the drawing changed, and goes on when Node-RED stops.
'use strict';

const { topicOf } = require('../lib/drawing.js');
const { createFlow } = require('../lib/flow.js');

module.exports = function (RED) {
  function MotehubFlow(config) {
    RED.nodes.createNode(this, config);
    this.hub = RED.nodes.getNode(config.hub)?.hub;
    const flow = createFlow(RED, this, config, this.hub);
    this.add = flow.add;
    this.on('close', (removed, done) => {
      flow.close(removed).then(done, (error) => {
        this.error(error.message);
        done();
      });
    });
  }
  RED.nodes.registerType('motehub-flow', MotehubFlow);

  /** The flow that a node belongs to, or null and a status that says what is missing. */
  function join(node, config) {
    RED.nodes.createNode(node, config);
    const flow = RED.nodes.getNode(config.flow);
    if (flow?.add === undefined) {
      node.status({ fill: 'red', shape: 'ring', text: RED._('status.none') });
      return null;
    }
    flow.add(node, config);
    return flow;
  }

  for (const type of ['motehub-source', 'motehub-step', 'motehub-sink', 'motehub-failure']) {
    RED.nodes.registerType(type, function MotehubStep(config) {
      join(this, config);
    });
  }

  RED.nodes.registerType('motehub-out', function MotehubOut(config) {
    const flow = join(this, config);
    if (!flow?.hub) return;
    const topic = topicOf(config);
    let trouble;
    const stop = flow.hub.broker.subscribe(topic, {
      message: (text) => this.send({ topic, payload: parse(text) }),
      /** It tries again and again; what is wrong is said once. */
      state: (why) => {
        if (why !== undefined && why !== trouble) this.error(why);
        trouble = why;
      },
    });
    this.on('close', stop);
  });

  RED.nodes.registerType('motehub-in', function MotehubIn(config) {
    const flow = join(this, config);
    if (!flow?.hub) return;
    const publisher = flow.hub.broker.publisher(topicOf(config));
    this.on('input', (msg, send, done) => {
      const text = JSON.stringify(msg.payload ?? null);
      publisher.publish(text).then(
        () => done(),
        (error) => done(error.message),
      );
    });
    this.on('close', () => publisher.close());
  });
};

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
