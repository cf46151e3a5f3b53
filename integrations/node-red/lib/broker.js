//! The MQTT broker of a hub, for the values between a flow and Node-RED. An API token is the password.
'use strict';

const mqtt = require('mqtt');

const RECONNECT_MS = 2_000;
const QUEUED_MAX = 1_000;

/** Where the broker of a hub is if nobody said: on the same host, on its usual port. */
function brokerOf(hub) {
  const url = new URL(hub.address);
  return url.protocol === 'https:' ? `mqtts://${url.hostname}:8883` : `mqtt://${url.hostname}:1883`;
}

/** `hub` as in rest.js, with `broker`: its address, or nothing. Connected while somebody needs it. */
function createBroker(hub) {
  const listeners = new Map();
  let client = null;
  let users = 0;

  function connected() {
    if (client !== null) return client;
    const made = mqtt.connect(hub.broker || brokerOf(hub), {
      ...hub.tls,
      // In MQTT 3.1.1 the hub has no word for a publish that is not allowed.
      protocolVersion: 5,
      username: 'node-red',
      password: hub.token,
      clientId: `node-red-${Math.random().toString(16).slice(2, 12)}`,
      reconnectPeriod: RECONNECT_MS,
      queueQoSZero: false,
    });
    made.on('message', (topic, payload) => {
      for (const listener of listeners.get(topic) ?? []) listener.message(payload.toString('utf8'));
    });
    const all = () => [...listeners.values()].flatMap((set) => [...set]);
    made.on('connect', () => all().forEach((listener) => listener.state()));
    made.on('error', (error) => all().forEach((listener) => listener.state(error.message)));
    client = made;
    return made;
  }

  function release() {
    users -= 1;
    if (users > 0) return;
    client?.end(true);
    client = null;
  }

  return {
    /** Hears what is published to a topic until the returned function is called. `state` is told what is wrong, if it is. */
    subscribe(topic, listener) {
      users += 1;
      const set = listeners.get(topic) ?? new Set();
      listeners.set(topic, set.add(listener));
      connected().subscribe(topic, { qos: 1 }, (error) => {
        if (error) listener.state(error.message);
      });
      return () => {
        set.delete(listener);
        if (set.size === 0) {
          listeners.delete(topic);
          client?.unsubscribe(topic);
        }
        release();
      };
    },
    /** A publisher of a topic, until its `close` is called. */
    publisher(topic) {
      users += 1;
      connected();
      let waiting = 0;
      return {
        publish(text) {
          if (waiting >= QUEUED_MAX) return Promise.reject(new Error('too many values wait for the broker'));
          waiting += 1;
          return client.publishAsync(topic, text, { qos: 1 }).finally(() => {
            waiting -= 1;
          });
        },
        close: release,
      };
    },
  };
}

module.exports = { brokerOf, createBroker };
