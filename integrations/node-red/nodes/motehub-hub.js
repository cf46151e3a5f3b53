//! The hub that the other nodes speak with: its address, an API token, and how TLS is verified.
'use strict';

const { createHub } = require('../lib/hub.js');

module.exports = function (RED) {
  function MotehubHub(config) {
    RED.nodes.createNode(this, config);
    const tls = {};
    RED.nodes.getNode(config.tls)?.addTLSOptions(tls);
    const { token = '' } = this.credentials ?? {};
    try {
      this.hub = createHub({ address: config.address, broker: config.broker, token, tls });
    } catch (error) {
      this.error(error.message);
    }
  }
  RED.nodes.registerType('motehub-hub', MotehubHub, { credentials: { token: { type: 'password' } } });
};
