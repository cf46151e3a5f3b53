//! Starts the real hub, a real virtual board and a real browser for the tests in this folder, and ends them
//! again after the last test of a file. MOTEHUB_BIN names the binary, CHROMIUM the browser. Nothing here waits by the
//! clock: only for facts, with a deadline.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
export const BINARY = path.resolve(HERE, process.env.MOTEHUB_BIN ?? '../../target/debug/motehub');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** How long a fact is waited for: long enough for a machine that has much else to do. */
export const DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 8_000;
const LINES_KEPT = 200;
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

const ends = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** What is to be ended after the last test of a file: what began last goes first. */
export const atEnd = (end) => ends.push(end);

/** An empty folder. */
export async function folder() {
  const made = await mkdtemp(path.join(tmpdir(), 'motehub-browser-'));
  atEnd(() => rm(made, { recursive: true, force: true }));
  return made;
}

/** A hub for the first time, on free ports. `setupLink` is the one-time link that it printed. */
export async function startHub(data, more = []) {
  const program = serve(data, '127.0.0.1:0', more);
  const link = program.firstLine('stderr', (line) => line.includes('/setup#'));
  const hub = await program.ready;
  return { ...hub, setupLink: /https?:\/\/\S+\/setup#\S+/.exec(await link)[0] };
}

/** The same hub again, where its browsers look for it. */
export function restartHub(data, http) {
  return serve(data, http).ready;
}

function serve(data, http, more = []) {
  const program = run(['serve', '--data', data, '--http', http, '--mqtt', '127.0.0.1:0', ...more]);
  const ready = program
    .firstLine('stdout', (line) => line.startsWith('{') && JSON.parse(line).ready === true)
    .then((line) => ({ ...JSON.parse(line), stop: program.stop, output: program.output }));
  return { ready, firstLine: program.firstLine };
}

/** A virtual board with its credential; resolves when it said that it is ready. */
export function startBoard(hub, chipId, credential, flash) {
  return board(hub, flash, [
    '--board',
    `${chipId}:${credential}`,
    '--sensor',
    'adc=sine:100:900:7',
    '--boot-delay-ms',
    '100',
  ]);
}

/** A virtual board with Motehub's agent, as its config.json describes it; its clock is ten times as fast. */
export function startAgent(hub, chipId, config, flash) {
  return board(hub, flash, [
    '--agent',
    `${chipId}:${config.device}:${config.credential}`,
    '--speed',
    '10',
    '--boot-delay-ms',
    '20',
  ]);
}

/** A virtual light that is set up already; resolves when it is connected. */
export async function startLightAtHome(hub, id, token) {
  const where = ['--mdash', `ws://${hub.mdash}/api/v2/rpc`, '--light', `${id}:${token}`];
  const program = run(['sim', 'mongoose', ...where, '--reconnect-ms', '200', '--speed', '10']);
  await program.firstLine('stdout', (line) => line.includes('"online"'));
  return { stop: program.stop, output: program.output };
}

/** A virtual light as it leaves the factory: it serves its own calls, and waits to be set up. */
export async function startLight(hub, id, token) {
  const where = ['--mdash', `ws://${hub.mdash}/api/v2/rpc`, '--light', `${id}:${token}`];
  const program = run(['sim', 'mongoose', ...where, '--new', '--local', '127.0.0.1:0']);
  const fact = (name) =>
    program
      .firstLine('stdout', (line) => line.startsWith('{') && JSON.parse(line).fact === name)
      .then(JSON.parse);
  const serves = fact('serves');
  await fact('ready');
  return {
    address: (await serves).address,
    say: (command) => program.say(JSON.stringify(command)),
    /** The next fact of this name: ask before what brings it about. */
    fact,
    stop: program.stop,
    output: program.output,
  };
}

/**
 * Virtual RIOT nodes, one for each firmware; resolves when they run. `nodes` are their uids by the names that they call
 * themselves. Addresses are those of this file of tests alone.
 */
export async function startNodes(hub, first, firmware, more = []) {
  const runs = firmware.flatMap((name) => ['--firmware', name]);
  const where = ['--hub', hub.coap, '--first', first, '--nodes', String(firmware.length)];
  const program = run(['sim', 'riot', ...where, ...runs, '--alive-ms', '1000', '--until-eof', ...more]);
  await program.firstLine('stdout', (line) => line.includes('"ready"'));
  const facts = program
    .output()
    .split('\n')
    .filter((line) => line.startsWith('stdout: {'))
    .map((line) => JSON.parse(line.slice('stdout: '.length)));
  return {
    nodes: Object.fromEntries(facts.filter(({ fact }) => fact === 'node').map(({ name, uid }) => [name, uid])),
    /** A value is written to a resource: ask before what brings it about. */
    written: (resource, value) =>
      program.firstLine('stdout', (line) => {
        const fact = line.startsWith('{') ? JSON.parse(line) : {};
        return fact.fact === 'set' && fact.resource === resource && fact.value === value;
      }),
    order: (command) => program.say(JSON.stringify(command)),
    stop: program.stop,
    output: program.output,
  };
}

/** A gateway of a kind (`mqtt`, `coap`) with the text of its join file; resolves when it listens. */
export async function startGateway(kind, join, more = []) {
  const where = await folder();
  const key = path.join(where, 'gateway.join');
  await writeFile(key, join, { mode: 0o600 });
  const program = run(['gateway', kind, '--key', key, `--${kind}`, '127.0.0.1:0', ...more]);
  const ready = JSON.parse(
    await program.firstLine('stdout', (line) => line.startsWith('{') && JSON.parse(line).ready === true),
  );
  return { ...ready, stop: program.stop, output: program.output };
}

/**
 * Virtual MicroPython boards with Motehub's agent: `boards` are devices, each with its id and its credential; resolves when
 * they run.
 */
export async function startMicropython(hub, boards, flash) {
  const where = ['--http', hub.http, '--mqtt', hub.mqtt, '--flash', flash];
  const which = boards.flatMap(({ id, credential }) => ['--board', `${id}:${credential}`]);
  const program = run(['sim', 'micropython', ...where, ...which]);
  await program.firstLine('stdout', (line) => line.includes('"ready"'));
  return { order: (command) => program.say(JSON.stringify(command)), stop: program.stop, output: program.output };
}

/** A token of the hub whose data folder this is. */
export async function addToken(data, name, role) {
  const program = run(['token', 'add', name, '--role', role, '--data', data]);
  return (await program.firstLine('stdout', (line) => line.trim() !== '')).trim();
}

async function board(hub, flash, args) {
  const where = ['--http', hub.http, '--mqtt', hub.mqtt, '--flash', flash, '--wifi-join-ms', '100'];
  const program = run(['sim', 'nodemcu', ...where, ...args]);
  await program.firstLine('stdout', (line) => line.includes('"ready"'));
  return { stop: program.stop, output: program.output };
}

function run(args) {
  return start(BINARY, args);
}

/** A program, whose lines are heard; it is ended after the last test of the file. */
export function start(command, args, environment = {}) {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  const kept = [];
  const waiting = [];
  const hear = (from) => (line) => {
    kept.push(`${from}: ${line}`);
    if (kept.length > LINES_KEPT) kept.shift();
    for (const wait of [...waiting]) if (wait.from === from && wait.fits(line)) wait.done(line);
  };
  createInterface({ input: child.stdout }).on('line', hear('stdout'));
  createInterface({ input: child.stderr }).on('line', hear('stderr'));
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  child.once('error', (error) => hear('stderr')(String(error)));

  const firstLine = (from, fits) =>
    new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${args[0] ?? command}: ${why}\n${kept.join('\n')}`));
      const timer = setTimeout(() => fail('the expected line did not come'), DEADLINE_MS);
      ended.then(() => (clearTimeout(timer), fail('it ended early')));
      waiting.push({ from, fits, done: (line) => (clearTimeout(timer), resolve(line)) });
    });

  const stop = async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
    const how = await ended;
    clearTimeout(timer);
    return how;
  };
  atEnd(stop);
  const say = (line) => child.stdin.write(`${line}\n`);
  /** Ends its input, and waits until it has ended because of that. */
  const close = () => (child.stdin.end(), ended);
  return { firstLine, say, close, stop, output: () => kept.join('\n') };
}

/**
 * A page in a real browser, and everything that went wrong in it: errors in the console, exceptions, CSP
 * violations. `phone` opens further ones of the size of a phone, each with its own cookies.
 */
export async function openBrowser(flags = []) {
  const require = createRequire(path.resolve(HERE, '../../web/package.json'));
  const { chromium } = require('playwright-core');
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...flags] });
  atEnd(() => browser.close());
  const first = await openPage(browser, { viewport: { width: 1280, height: 900 } });
  return { ...first, phone: (options) => openPhone(browser, options) };
}

async function openPhone(browser, options = {}) {
  const phone = {
    viewport: { width: 390, height: 844 },
    hasTouch: true,
    isMobile: true,
    deviceScaleFactor: 2,
  };
  const opened = await openPage(browser, { ...phone, ...options });
  const { page } = opened;
  return {
    ...opened,
    /** Without network, for the page and its service worker. */
    offline: (isOffline) => page.context().setOffline(isOffline),
    /** What the browser says keeps the page from being installed. */
    installability: async () => {
      const session = await page.context().newCDPSession(page);
      const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
      // A context of its own counts as a private window; every page of these tests is in one.
      return installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito');
    },
  };
}

async function openPage(browser, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const wrongs = [];
  page.on('pageerror', (error) => wrongs.push(`exception: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() !== 'error' || isExpected(message)) return;
    wrongs.push(`console: ${message.text()} (${message.location().url})`);
  });
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return { page, wrongs };
}

/** Before the login the page asks who it is, and is told that it is nobody. */
function isExpected(message) {
  return message.text().includes('401') && message.location().url.endsWith('/api/v1/me');
}
