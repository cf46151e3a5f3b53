//! A message for everything that devices measure, as it comes.
'use strict';

const { choiceOf, follow } = require('../lib/devices.js');
const { hubOf, showLink } = require('../lib/hub.js');
const { WATCHED_MAX } = require('../lib/live.js');

module.exports = function (RED) {
  RED.nodes.registerType('motehub-telemetry', function MotehubTelemetry(config) {
    RED.nodes.createNode(this, config);
    const hub = hubOf(RED, this, config.hub);
    if (hub === null) return;
    const metric = (config.metric ?? '').trim();
    let known = new Map();
    let unwatch = () => undefined;

    const devices = follow(
      hub,
      choiceOf(config),
      (found) => {
        const isSame = found.size === known.size && [...found.keys()].every((id) => known.has(id));
        known = found;
        if (isSame) return;
        unwatch();
        unwatch = hub.live.watch([...found.keys()].slice(0, WATCHED_MAX));
        const text = RED._('status.devices', { count: Math.min(found.size, WATCHED_MAX) });
        this.status({ fill: 'green', shape: 'dot', text });
        if (found.size > WATCHED_MAX) {
          this.warn(RED._('status.many', { count: found.size, max: WATCHED_MAX }));
        }
      },
      (error) => this.error(error.message),
    );
    const stop = hub.live.listen({
      state: showLink(RED, this),
      load: devices.load,
      changes: devices.changes,
      telemetry: (byDevice) => {
        for (const [id, points] of Object.entries(byDevice)) {
          const device = known.get(id);
          if (device === undefined) continue;
          for (const [name, time, value] of points) {
            if (metric !== '' && name !== metric) continue;
            const { name: deviceName } = device;
            const topic = `${deviceName}/${name}`;
            this.send({ topic, payload: value, metric: name, time, device: { id, name: deviceName } });
          }
        }
      },
    });
    this.on('close', () => {
      stop();
      unwatch();
      devices.close();
    });
  });
};
