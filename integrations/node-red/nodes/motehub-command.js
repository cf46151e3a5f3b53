//! Gives devices a command, and passes on what each of them answers.
'use strict';

const { choiceOf, findToSend } = require('../lib/devices.js');
const { hubOf, showLink } = require('../lib/hub.js');
const { createPending } = require('../lib/pending.js');

/** In these states nothing more comes. */
const OVER = ['Done', 'Failed', 'Expired'];

module.exports = function (RED) {
  RED.nodes.registerType('motehub-command', function MotehubCommand(config) {
    RED.nodes.createNode(this, config);
    const hub = hubOf(RED, this, config.hub);
    if (hub === null) return;

    const look = async (id, { msg, send, told, devices }) => {
      const { items } = await hub.request('GET', `/api/v1/commands/${id}/executions?limit=1000`);
      for (const execution of items) {
        if (!OVER.includes(execution.state) || told.has(execution.device)) continue;
        told.add(execution.device);
        const { state, reason = null, result = null } = execution;
        const device = { id: execution.device, name: execution.device_name };
        const answer = { ...msg, payload: result, state, reason, device, command: id };
        send(state === 'Done' ? [answer, null] : [null, answer]);
      }
      return told.size >= devices;
    };
    const pending = createPending(['command_moved', 'command_cancelled'], look);
    const stop = hub.live.listen({ state: showLink(RED, this), ...pending.listener });

    const ask = async (msg, send, done) => {
      pending.mayAdd();
      const choice = choiceOf(config, msg);
      const whom =
        choice.by === 'selector' && choice.which !== ''
          ? { selector: choice.which }
          : { device: (await findToSend(hub, choice))[0].id };
      const name = typeof msg.command === 'string' ? msg.command : config.command;
      const body = { name, ...whom };
      if (msg.payload !== undefined && msg.payload !== '') body.args = msg.payload;
      if (Number(config.expires) > 0) body.expires_in_seconds = Number(config.expires);
      const { id, devices } = await hub.request('POST', '/api/v1/commands', body);
      await pending.add(id, { msg, send, done, devices, told: new Set() });
    };
    this.on('input', (msg, send, done) => {
      ask(msg, send, done).catch((error) => {
        this.status({ fill: 'red', shape: 'ring', text: error.message });
        done(error.message);
      });
    });
    this.on('close', () => {
      stop();
      pending.clear();
    });
  });
};
