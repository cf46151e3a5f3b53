//! A small MQTT 3.1.1 client: as much as a test needs of a device. It says one CONNECT, then hears and says
//! messages. Nothing here waits by the clock.
import { connect as openSocket } from 'node:net';
import { atEnd, DEADLINE_MS } from './programs.mjs';

const CONNACK = 2;
const PUBLISH = 3;
const PUBACK = 4;
const SUBACK = 9;

/**
 * Says CONNECT at "host:port". `code` of the result is what the hub answered: 0 lets it in, anything else
 * refuses.
 */
export async function connectMqtt(address, { clientId, user, password }) {
  const [host, port] = address.split(':');
  const socket = openSocket({ host, port: Number(port) });
  socket.on('error', () => {});
  atEnd(() => socket.destroy());
  const packets = heard(socket);
  const given = password === undefined ? [text(user)] : [text(user), text(password)];
  const flags = 0x02 | 0x80 | (password === undefined ? 0 : 0x40);
  socket.write(packet(0x10, text('MQTT'), Buffer.from([4, flags, 0, 60]), text(clientId), ...given));
  const { body } = await packets.next((one) => one.kind === CONNACK);

  return {
    code: body[1],
    /** Resolves when the hub has taken the subscription. */
    async subscribe(filter) {
      socket.write(packet(0x82, Buffer.from([0, 1]), text(filter), Buffer.from([0])));
      const { body: answer } = await packets.next((one) => one.kind === SUBACK);
      if (answer[2] >= 0x80) throw new Error(`the hub refuses the subscription to ${filter}`);
    },
    /** With QoS 1: resolves when the hub has stored it. */
    async publish(topic, payload) {
      socket.write(packet(0x32, text(topic), Buffer.from([0, 1]), Buffer.from(payload)));
      await packets.next((one) => one.kind === PUBACK);
    },
    /** The next message whose topic ends in this, from JSON. */
    async message(ending) {
      const fits = (one) => one.kind === PUBLISH && published(one).topic.endsWith(ending);
      return published(await packets.next(fits)).value();
    },
    close: () => socket.destroy(),
  };
}

/** Packets as they come in, kept until somebody asks for them. */
function heard(socket) {
  let rest = Buffer.alloc(0);
  const kept = [];
  const waiting = [];
  let isClosed = false;
  const give = () => {
    for (const wait of [...waiting]) {
      const at = kept.findIndex(wait.fits);
      if (at < 0) continue;
      waiting.splice(waiting.indexOf(wait), 1);
      wait.done(kept.splice(at, 1)[0]);
    }
  };
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    for (let one = take(rest); one !== null; one = take(rest)) {
      rest = rest.subarray(one.length);
      kept.push(one);
    }
    give();
  });
  socket.on('close', () => {
    isClosed = true;
    for (const wait of waiting.splice(0)) wait.fail('the connection was closed');
  });
  const next = (fits) =>
    new Promise((resolve, reject) => {
      const fail = (why) => (clearTimeout(timer), reject(new Error(why)));
      const timer = setTimeout(() => fail('the hub did not send what was awaited'), DEADLINE_MS);
      waiting.push({ fits, fail, done: (one) => (clearTimeout(timer), resolve(one)) });
      give();
      if (isClosed) for (const wait of waiting.splice(0)) wait.fail('the connection was closed');
    });
  return { next };
}

/** The first whole packet in the bytes, or null. */
function take(bytes) {
  let size = 0;
  for (let at = 1; at < bytes.length && at <= 4; at += 1) {
    size += (bytes[at] & 0x7f) << (7 * (at - 1));
    if (bytes[at] & 0x80) continue;
    const start = at + 1;
    if (bytes.length < start + size) return null;
    return {
      kind: bytes[0] >> 4,
      flags: bytes[0] & 0x0f,
      body: bytes.subarray(start, start + size),
      length: start + size,
    };
  }
  return null;
}

function published({ flags, body }) {
  const topicEnd = 2 + body.readUInt16BE(0);
  const start = topicEnd + ((flags >> 1) & 3 ? 2 : 0);
  return {
    topic: body.subarray(2, topicEnd).toString(),
    value: () => JSON.parse(body.subarray(start).toString()),
  };
}

function packet(first, ...parts) {
  const body = Buffer.concat(parts);
  const size = [];
  let left = body.length;
  do {
    const more = left > 0x7f;
    size.push((left & 0x7f) | (more ? 0x80 : 0));
    left >>= 7;
  } while (left > 0);
  return Buffer.concat([Buffer.from([first, ...size]), body]);
}

function text(value) {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
