// The libraries pusher-js (pages) and pusher (servers), unmodified, against a hub:
//   node libraries.mjs HOST PORT APP_ID KEY SECRET
// It says what it saw and ends with 0, or with 1 and what went wrong. Nothing waits by the clock: only for facts, with a
// deadline.
import assert from 'node:assert/strict';
import Pusher from 'pusher';
import Client from 'pusher-js';

const [host, port, appId, key, secret] = process.argv.slice(2);
const DEADLINE_MS = 20_000;
const server = new Pusher({ appId, key, secret, host, port, useTLS: false });
const open = [];

/** A client whose channels the server authorises, as somebody. */
function client(id) {
  const made = new Client(key, {
    wsHost: host,
    wsPort: Number(port),
    forceTLS: false,
    enabledTransports: ['ws'],
    cluster: '',
    disableStats: true,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) => {
        const who = { user_id: id, user_info: { name: id } };
        const isPresence = channelName.startsWith('presence-');
        callback(null, server.authorizeChannel(socketId, channelName, isPresence ? who : undefined));
      },
    },
  });
  open.push(made);
  return made;
}

/** The next time that something says this. */
function next(emitter, event) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`waited in vain for ${event}`)), DEADLINE_MS);
    const heard = (data) => {
      clearTimeout(late);
      emitter.unbind(event, heard);
      resolve(data);
    };
    emitter.bind(event, heard);
  });
}

async function subscribed(pusher, name) {
  const channel = pusher.subscribe(name);
  return [channel, await next(channel, 'pusher:subscription_succeeded')];
}

async function run() {
  const [ada, bo] = [client('ada'), client('bo')];
  await Promise.all([next(ada.connection, 'connected'), next(bo.connection, 'connected')]);

  // A private channel: the server's event reaches both, but not the one that is left out.
  const [room] = await subscribed(ada, 'private-room');
  const [same] = await subscribed(bo, 'private-room');
  const heard = next(same, 'said');
  room.bind('said', () => assert.fail('it was left out'));
  const answer = await server.trigger('private-room', 'said', { n: 1 }, { socket_id: ada.connection.socket_id });
  assert.equal(answer.status, 200);
  assert.deepEqual(await heard, { n: 1 });
  room.unbind('said');

  // What a client says reaches the other.
  const typed = next(room, 'client-typed');
  assert.ok(same.trigger('client-typed', { text: 'h\u00e4' }));
  assert.deepEqual(await typed, { text: 'h\u00e4' });

  // A batch, in its order.
  const [first, second] = [next(room, 'one'), next(room, 'two')];
  await server.triggerBatch([
    { channel: 'private-room', name: 'one', data: { n: 1 } },
    { channel: 'private-room', name: 'two', data: 'text' },
  ]);
  assert.deepEqual([await first, await second], [{ n: 1 }, 'text']);

  // Who is there.
  const [presence, members] = await subscribed(ada, 'presence-room');
  assert.equal(members.count, 1);
  assert.equal(members.me.id, 'ada');
  const added = next(presence, 'pusher:member_added');
  await subscribed(bo, 'presence-room');
  assert.deepEqual(await added, { id: 'bo', info: { name: 'bo' } });
  const users = await (await server.get({ path: '/channels/presence-room/users' })).json();
  assert.deepEqual(users, { users: [{ id: 'ada' }, { id: 'bo' }] });
  const params = { filter_by_prefix: 'presence-', info: 'user_count' };
  const channels = await (await server.get({ path: '/channels', params })).json();
  assert.deepEqual(channels, { channels: { 'presence-room': { user_count: 2 } } });
  const removed = next(presence, 'pusher:member_removed');
  bo.unsubscribe('presence-room');
  assert.equal((await removed).id, 'bo');

  // Another secret opens nothing and publishes nothing.
  const other = new Pusher({ appId, key, secret: 'wrong', host, port, useTLS: false });
  await assert.rejects(other.trigger('private-room', 'said', {}), (error) => error.status === 401);
  await assert.rejects(server.trigger('private-devices', 'said', {}), (error) => error.status === 403);
  const eve = new Client(key, {
    wsHost: host,
    wsPort: Number(port),
    forceTLS: false,
    enabledTransports: ['ws'],
    cluster: '',
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) =>
        callback(null, other.authorizeChannel(socketId, channelName)),
    },
  });
  open.push(eve);
  const refused = await next(eve.subscribe('private-room'), 'pusher:subscription_error');
  assert.equal(refused.status, 401);

  // A key that nobody has.
  const nobody = new Client('nobody', { wsHost: host, wsPort: Number(port), forceTLS: false, cluster: '' });
  open.push(nobody);
  const error = await next(nobody.connection, 'error');
  assert.equal(error.error.data.code, 4001);
  console.log('pusher-js and pusher (npm): private, client events, batch, presence, refusals');
}

try {
  await run();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  open.forEach((one) => one.disconnect());
}
