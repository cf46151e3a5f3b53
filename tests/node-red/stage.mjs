//! Starts the real hub, boards on the real MicroPython, and a real Node-RED with our nodes, and ends them after
//! the last test. NODE_RED names the red.js of another Node-RED. Nothing here waits by the clock: only for facts,
//! with a deadline.
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  addToken,
  atEnd,
  DEADLINE_MS,
  folder,
  start,
  startHub,
  startMicropython,
} from '../browser/programs.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PACKAGE = path.resolve(HERE, '../../integrations/node-red');
const require = createRequire(path.join(PACKAGE, 'package.json'));
const WebSocket = require('ws');
const mqtt = require('mqtt');
/** How many messages are told when something did not come about. */
const SHOWN_MAX = 8;
/** Node-RED as it comes: nothing is changed but where it listens, and that its editor neither phones nor explains itself. */
const SETTINGS = `module.exports = {
  uiPort: Number(process.env.NODE_RED_PORT), uiHost: '127.0.0.1', flowFile: 'flows.json', credentialSecret: 'test',
  telemetry: { enabled: false }, editorTheme: { tours: false }, externalModules: { palette: { allowInstall: false } },
};`;

/** A hub with a token for tests and one for Node-RED. */
export async function openHub() {
  const data = await folder();
  const hub = await startHub(data);
  const token = await addToken(data, 'tests', 'admin');
  const call = async (method, where, body) => {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const answer = await fetch(`http://${hub.http}/api/v1${where}`, {
      method,
      headers,
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  };
  return { ...hub, call, token, nodeRedToken: await addToken(data, 'node-red', 'engineer') };
}

/** Boards that run the agent, by the names that they are given, with these capabilities. */
export async function openBoards(hub, names, capabilities = []) {
  const boards = [];
  for (const name of names) {
    const board = await hub.call('POST', '/devices', { name, dialect: 'micropython' });
    await hub.call('PATCH', `/devices/${board.id}`, { capabilities });
    boards.push({ name, ...board });
  }
  const fleet = await startMicropython(hub, boards, await folder());
  for (const { id } of boards) {
    await until('a board said what it can do', async () => {
      const { announced } = await hub.call('GET', `/devices/${id}`);
      return announced.includes('micropython');
    });
  }
  return { boards, ...fleet };
}

/** A way to a hub that can be cut, and mended again. */
export async function openWay(to) {
  const [host, port] = to.split(':');
  const open = new Set();
  let isCut = false;
  const server = createServer((client) => {
    if (isCut) return client.destroy();
    const onward = connect(Number(port), host);
    for (const [one, other] of [
      [client, onward],
      [onward, client],
    ]) {
      open.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => open.delete(one) && other.destroy());
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    isCut = true;
    for (const one of open) one.destroy();
  };
  atEnd(() => server.close(cut()));
  return { address: `127.0.0.1:${server.address().port}`, cut, mend: () => (isCut = false) };
}

/** What is published to a topic of the broker, whoever else is there. */
export async function subscribe(hub, topic) {
  const client = await mqtt.connectAsync(`mqtt://${hub.mqtt}`, { username: 'tests', password: hub.token });
  atEnd(() => client.endAsync(true));
  const values = [];
  let hear = () => undefined;
  client.on('message', (_, payload) => {
    values.push(payload.toString());
    hear();
  });
  await client.subscribeAsync(topic, { qos: 1 });
  /** Resolves when so many values came from now on. */
  const more = (count) =>
    new Promise((resolve, reject) => {
      const wanted = values.length + count;
      const fail = () => reject(new Error(`${values.length} of ${wanted} values came on ${topic}`));
      const timer = setTimeout(fail, DEADLINE_MS);
      hear = () => {
        if (values.length < wanted) return;
        clearTimeout(timer);
        resolve(values.slice(wanted - count));
      };
    });
  return { more };
}

/** Waits until something is so; resolves to what `look` gave. */
export async function until(what, look) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`it did not come about that ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Node-RED with our package in its user folder, as `npm install PATH` links it there: with what it needs beside it. */
export async function openNodeRed(userDir, port = 0) {
  await mkdir(path.join(userDir, 'node_modules'), { recursive: true });
  await writeFile(path.join(userDir, 'settings.js'), SETTINGS);
  const dependencies = { 'node-red-contrib-motehub': `file:${PACKAGE}` };
  await writeFile(
    path.join(userDir, 'package.json'),
    JSON.stringify({ name: 'home', version: '0.0.1', dependencies }),
  );
  const link = path.join(userDir, 'node_modules/node-red-contrib-motehub');
  await symlink(PACKAGE, link).catch((error) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const red =
    process.env.NODE_RED ?? path.join(path.dirname(require.resolve('node-red/package.json')), 'red.js');
  const settings = ['--userDir', userDir, '--settings', path.join(userDir, 'settings.js')];
  const program = start(process.execPath, [red, ...settings], { NODE_RED_PORT: String(port) });
  const line = await program.firstLine('stdout', (one) => one.includes('Server now running at'));
  const address = /http:\/\/\S+:\d+/.exec(line)[0];
  return {
    address,
    stop: program.stop,
    output: program.output,
    ...(await listen(address)),
    ...admin(address),
  };
}

function admin(address) {
  const call = async (method, where, body, headers = {}) => {
    const all = { 'Content-Type': 'application/json', ...headers };
    const answer = await fetch(`${address}${where}`, { method, headers: all, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  return {
    call,
    /** What the button Deploy does. */
    deploy: (flows, type = 'full') => call('POST', '/flows', flows, { 'Node-RED-Deployment-Type': type }),
    /** What the button of an inject node does. */
    press: (id) => call('POST', `/inject/${id}`, {}),
  };
}

/** What the editor hears: messages of debug nodes, and the status of every node. */
async function listen(address) {
  const socket = new WebSocket(`${address.replace('http', 'ws')}/comms`);
  const messages = [];
  const statuses = new Map();
  const waiting = new Set();
  socket.on('message', (data) => {
    for (const { topic, data: content } of [JSON.parse(data.toString())].flat()) {
      if (topic === 'debug') messages.push({ ...content, msg: read(content.msg) });
      if (topic?.startsWith('status/')) statuses.set(topic.slice('status/'.length), content);
    }
    for (const look of [...waiting]) look();
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  socket.send(JSON.stringify({ subscribe: 'debug' }));
  socket.send(JSON.stringify({ subscribe: 'status/#' }));
  atEnd(() => socket.terminate());

  const when = (what, look) =>
    new Promise((resolve, reject) => {
      const known = () => `${JSON.stringify([...statuses])}\n${JSON.stringify(messages.slice(-SHOWN_MAX))}`;
      const timer = setTimeout(() => {
        waiting.delete(check);
        reject(new Error(`it did not come about that ${what}\n${known()}`));
      }, DEADLINE_MS);
      const check = () => {
        const found = look();
        if (!found) return;
        clearTimeout(timer);
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  return {
    messages,
    statuses,
    /** A message that a debug node shows; those before the mark are old. */
    message: async (id, fits = () => true, mark = 0) => {
      const isIt = (one) => one.id === id && fits(one.msg);
      return (await when(`${id} shows a message`, () => messages.slice(mark).find(isIt))).msg;
    },
    /** The status of a node. */
    status: (id, fits) => when(`${id} has a status`, () => fits(statuses.get(id) ?? {}) && statuses.get(id)),
  };
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
