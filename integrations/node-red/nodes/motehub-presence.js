//! A message when a device comes, goes, or cannot be known to be there.
'use strict';

const { choiceOf, follow } = require('../lib/devices.js');
const { hubOf, showLink } = require('../lib/hub.js');

module.exports = function (RED) {
  RED.nodes.registerType('motehub-presence', function MotehubPresence(config) {
    RED.nodes.createNode(this, config);
    const hub = hubOf(RED, this, config.hub);
    if (hub === null) return;
    let known = null;

    const devices = follow(
      hub,
      choiceOf(config),
      (found) => {
        const before = known;
        known = found;
        if (before === null && config.initial !== true) return;
        for (const { id, name, reach } of found.values()) {
          if (before?.get(id)?.reach === reach) continue;
          this.send({ topic: name, payload: reach === 'online', reach, device: { id, name } });
        }
      },
      (error) => this.error(error.message),
    );
    const stop = hub.live.listen({
      state: showLink(RED, this),
      load: devices.load,
      changes: devices.changes,
    });
    this.on('close', () => {
      stop();
      devices.close();
    });
  });
};
