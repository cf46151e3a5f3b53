//! Sets what is desired of devices, in their shadows. A device that is away learns it when it is back.
'use strict';

const { choiceOf, findToSend } = require('../lib/devices.js');
const { hubOf } = require('../lib/hub.js');

/** How many devices are told at once. */
const TOGETHER = 8;

module.exports = function (RED) {
  RED.nodes.registerType('motehub-desired', function MotehubDesired(config) {
    RED.nodes.createNode(this, config);
    const hub = hubOf(RED, this, config.hub);
    if (hub === null) return;
    const seconds = Number(config.expires) > 0 ? { expires_in_seconds: Number(config.expires) } : {};

    const set = async (msg, send) => {
      const update = { state: { desired: desiredOf(config.path, msg.payload) }, ...seconds };
      const devices = await findToSend(hub, choiceOf(config, msg));
      const one = async ({ id, name }) => {
        const shadow = await hub.request('PATCH', `/api/v1/devices/${id}/shadow`, update);
        send({ ...msg, device: { id, name }, version: shadow.version, shadow: shadow.state });
      };
      for (let at = 0; at < devices.length; at += TOGETHER) {
        await Promise.all(devices.slice(at, at + TOGETHER).map(one));
      }
      this.status({ fill: 'green', shape: 'dot', text: JSON.stringify(msg.payload)?.slice(0, 40) });
    };
    this.on('input', (msg, send, done) => {
      set(msg, send).then(
        () => done(),
        (error) => {
          this.status({ fill: 'red', shape: 'ring', text: error.message });
          done(error.message);
        },
      );
    });
  });
};

/** `light.on` and true are `{light: {on: true}}`. Without a path the payload is the document itself. */
function desiredOf(path, payload) {
  const parts = (path ?? '').split('.').filter((part) => part !== '');
  if (parts.length === 0 && (typeof payload !== 'object' || payload === null || Array.isArray(payload))) {
    throw new Error('the payload is an object, or the node says which part of the shadow it is');
  }
  return parts.reduceRight((value, part) => ({ [part]: value }), payload);
}
