//! A hub as nodes use it: requests, the live link, the broker.
'use strict';

const { createBroker } = require('./broker.js');
const { createLive } = require('./live.js');
const rest = require('./rest.js');

/** `settings`: address, broker, token, and tls for Node. Throws a sentence for people if the address is none. */
function createHub(settings) {
  const hub = { ...settings, address: rest.readAddress(settings.address) };
  return {
    request: (method, path, body) => rest.request(hub, method, path, body),
    live: createLive(hub),
    /** A link of its own, for a node that follows a flow. */
    newLive: () => createLive(hub),
    broker: createBroker(hub),
  };
}

/** Words that all nodes share are those of the node of the hub. */
const words = (RED, name) => RED._(`node-red-contrib-motehub/motehub-hub:status.${name}`);

/** The hub of a node, or null and a status that says what is missing. */
function hubOf(RED, node, id) {
  const config = RED.nodes.getNode(id);
  if (config?.hub) return config.hub;
  node.status({ fill: 'red', shape: 'ring', text: words(RED, 'none') });
  return null;
}

/** Shows the state of the live link until there is something better to show. */
function showLink(RED, node) {
  return (word, why) => {
    if (word === 'live') node.status({ fill: 'green', shape: 'dot', text: words(RED, 'live') });
    if (word === 'waits') {
      node.status({ fill: 'red', shape: 'ring', text: why ?? words(RED, 'waits') });
    }
  };
}

module.exports = { createHub, hubOf, showLink };
