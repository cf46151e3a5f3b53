//! Deploys a script to devices, and says how it goes and how it ended.
'use strict';

const { choiceOf, findToSend } = require('../lib/devices.js');
const { hubOf, showLink } = require('../lib/hub.js');
const { createPending } = require('../lib/pending.js');

module.exports = function (RED) {
  RED.nodes.registerType('motehub-deploy', function MotehubDeploy(config) {
    RED.nodes.createNode(this, config);
    const hub = hubOf(RED, this, config.hub);
    if (hub === null) return;

    const look = async (id, entry) => {
      const deployment = await hub.request('GET', `/api/v1/deployments/${id}`);
      const { state, title, total, counts, tasks } = deployment;
      const isOver = typeof deployment.ended_at === 'string';
      const said = JSON.stringify([state, counts]);
      if (said === entry.said && !isOver) return false;
      entry.said = said;
      const done = counts.done ?? counts.Done ?? 0;
      this.status({
        fill: isOver ? 'green' : 'blue',
        shape: 'dot',
        text: `${title}: ${state} ${done}/${total}`,
      });
      const payload = { id, title, state, total, counts };
      if (isOver) entry.send([null, { ...entry.msg, payload: { ...payload, tasks } }]);
      else entry.send([{ ...entry.msg, payload }, null]);
      return isOver;
    };
    const kinds = ['task_moved', 'deployment_ended', 'deployment_cancelled'];
    const pending = createPending(kinds, look);
    const stop = hub.live.listen({ state: showLink(RED, this), ...pending.listener });

    const begin = async (msg, send, done) => {
      pending.mayAdd();
      const { script, version } = await scriptOf(hub, config, msg);
      const choice = choiceOf(config, msg);
      const devices = await findToSend(hub, choice);
      const whom =
        choice.by === 'selector' ? { selector: choice.which } : { devices: devices.map(({ id }) => id) };
      const body = { script, ...whom };
      if (version !== undefined) body.version = version;
      if (Number(config.health) > 0) body.health_window_seconds = Number(config.health);
      const { id } = await hub.request('POST', '/api/v1/deployments', body);
      await pending.add(id, { msg, send, done });
    };
    this.on('input', (msg, send, done) => {
      begin(msg, send, done).catch((error) => {
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

/** Which script in which version. A source text in `msg.source` is saved first, as a new version or a new script. */
async function scriptOf(hub, config, msg) {
  const name = typeof msg.script === 'string' ? msg.script : (config.script ?? '').trim();
  if (name === '') throw new Error('say which script: in the node, or as msg.script');
  const query = new URLSearchParams({ q: name, limit: '1000' });
  const { items } = await hub.request('GET', `/api/v1/scripts?${query}`);
  const script = items.find((one) => one.name === name);
  const wanted = Number(msg.version ?? config.version);
  if (typeof msg.source !== 'string') {
    if (script === undefined) throw new Error(`there is no script ${name}`);
    return { script: script.id, version: wanted > 0 ? wanted : undefined };
  }
  const { source } = msg;
  const comment = 'From Node-RED';
  if (script !== undefined) {
    const saved = await hub.request('POST', `/api/v1/scripts/${script.id}/versions`, { source, comment });
    return { script: script.id, version: saved.version };
  }
  const language = typeof msg.language === 'string' ? msg.language : config.language || 'lua';
  const made = await hub.request('POST', '/api/v1/scripts', { name, language, source, comment });
  return { script: made.id, version: made.version };
}
