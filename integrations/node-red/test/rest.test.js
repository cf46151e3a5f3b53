//! Requests to a hub, against a web server that answers as one does, and which devices a node means.
'use strict';

const assert = require('node:assert/strict');
const http = require('node:http');
const { after, before, test } = require('node:test');
const { choiceOf, find, findToSend } = require('../lib/devices.js');
const { createPending } = require('../lib/pending.js');
const { readAddress, request } = require('../lib/rest.js');

let server;
let hub;
let seen;
let answer;

before(async () => {
  server = http.createServer((asked, reply) => {
    seen = { url: asked.url, token: asked.headers.authorization };
    reply.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(answer.body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  hub = { address: `http://127.0.0.1:${server.address().port}`, token: 'secret' };
});
after(() => server.close());

test('an address is http or https, without a password', () => {
  assert.equal(readAddress('http://192.0.2.5:8080/'), 'http://192.0.2.5:8080');
  assert.equal(readAddress('https://hub.example/motehub/?a#b'), 'https://hub.example/motehub');
  const cases = [
    ['192.0.2.5', /not a URL/],
    ['', /not a URL/],
    ['ftp://hub', /begins with http/],
    ['http://ada:secret@hub', /has no password/],
  ];
  for (const [text, why] of cases) assert.throws(() => readAddress(text), why, text);
});

test('the token is in the header, and a refusal is said in the words of the hub', async () => {
  answer = { status: 200, body: '{"items":[]}' };
  assert.deepEqual(await request(hub, 'GET', '/api/v1/devices?q=a'), { items: [] });
  assert.deepEqual(seen, { url: '/api/v1/devices?q=a', token: 'Bearer secret' });
  answer = { status: 404, body: '{"detail":"there is no flow x","code":"not_found"}' };
  const refused = { message: 'GET /flows: there is no flow x', status: 404, code: 'not_found' };
  await assert.rejects(request(hub, 'GET', '/flows?a=b'), refused);
  answer = { status: 502, body: '<html>' };
  await assert.rejects(request(hub, 'POST', '/flows', {}), {
    message: 'POST /flows: status 502',
    status: 502,
  });
  answer = { status: 204, body: '' };
  assert.equal(await request(hub, 'POST', '/flows/x/stop'), null);
});

test('nobody there, or an answer without end, is an error without a status', async () => {
  const nobody = { address: 'http://127.0.0.1:1', token: '' };
  await assert.rejects(
    request(nobody, 'GET', '/x'),
    (error) => error.status === undefined && /ECONNREFUSED/.test(error),
  );
  answer = { status: 200, body: 'x'.repeat(17 * 1024 * 1024) };
  await assert.rejects(request(hub, 'GET', '/x'), /the answer is too long/);
});

test('a message says which devices are meant before the node does', () => {
  const settings = { by: 'selector', which: ' tag=kitchen ' };
  assert.deepEqual(choiceOf(settings), { by: 'selector', which: 'tag=kitchen' });
  assert.deepEqual(choiceOf(settings, { device: 'Hall' }), { by: 'device', which: 'Hall' });
  assert.deepEqual(choiceOf(settings, { device: { id: 'd1', name: 'Hall' } }), { by: 'device', which: 'd1' });
  assert.deepEqual(choiceOf(settings, { selector: 'online' }), { by: 'selector', which: 'online' });
});

test('one device is the one with the id or the whole name', async () => {
  const items = [
    { id: 'd1', name: 'Hall lamp' },
    { id: 'd2', name: 'Hall' },
  ];
  const known = { request: async () => ({ items }) };
  const names = async (which, by = 'device') => (await find(known, { by, which })).map(({ name }) => name);
  assert.deepEqual(await names('Hall'), ['Hall']);
  assert.deepEqual(await names('d1'), ['Hall lamp']);
  assert.deepEqual(await names(''), ['Hall lamp', 'Hall']);
  assert.deepEqual(await names('tag=hall', 'selector'), ['Hall lamp', 'Hall']);
  await assert.rejects(names('Ha'), { message: 'there is no device Ha' });
  await assert.rejects(findToSend(known, { by: 'device', which: '' }), /say for which device/);
});

test('what was asked is looked at once at a time, and again if there was news meanwhile', async () => {
  const looks = [];
  const pending = createPending(['command_moved'], () => new Promise((resolve) => looks.push(resolve)));
  const ended = new Promise((resolve) => pending.add('c1', { done: resolve }));
  const news = (subject) => pending.listener.changes([{ kind: 'command_moved', subject }]);
  news('c1');
  news('c1');
  news('other');
  assert.equal(looks.length, 1);
  looks[0](false);
  await new Promise(setImmediate);
  assert.equal(looks.length, 2);
  looks[1](true);
  assert.equal(await ended, undefined);
  assert.equal(pending.count(), 0);
});
