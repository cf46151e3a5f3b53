//! A message for every event of a device, or for other changes about devices, in order and without gaps.
'use strict';

const { choiceOf, follow } = require('../lib/devices.js');
const { hubOf, showLink } = require('../lib/hub.js');

/** How many changes wait until it is known which devices are meant. */
const HELD_MAX = 1000;

module.exports = function (RED) {
  RED.nodes.registerType('motehub-event', function MotehubEvent(config) {
    RED.nodes.createNode(this, config);
    const hub = hubOf(RED, this, config.hub);
    if (hub === null) return;
    const kinds = (config.kinds || 'device_event').split(/[\s,]+/);
    let known = null;
    let held = [];

    const tell = (changes) => {
      for (const change of changes) if (known.has(change.device)) this.send(messageOf(change));
    };
    const devices = follow(
      hub,
      choiceOf(config),
      (found) => {
        known = found;
        tell(held);
        held = [];
      },
      (error) => this.error(error.message),
    );
    const stop = hub.live.listen({
      state: showLink(RED, this),
      load: devices.load,
      changes(changes) {
        devices.changes(changes);
        const wanted = changes.filter((change) => kinds.includes(change.kind) && change.device);
        if (known === null) held = [...held, ...wanted].slice(-HELD_MAX);
        else tell(wanted);
      },
    });
    this.on('close', () => {
      stop();
      devices.close();
    });
  });
};

function messageOf(change) {
  const isEvent = change.kind === 'device_event';
  return {
    topic: isEvent ? change.after.name : change.kind,
    payload: isEvent ? (change.after.data ?? null) : (change.after ?? null),
    device: { id: change.device, name: change.subject_name },
    change,
  };
}
