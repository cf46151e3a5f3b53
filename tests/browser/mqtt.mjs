//! The little MQTT 3.1.1 that a test needs to be a device: connect, and publish with QoS 1 until it is acknowledged.
import { once } from 'node:events';
import { connect } from 'node:net';

const CONNACK = 0x20;
const PUBACK = 0x40;

function text(value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function packet(first, ...parts) {
  const body = Buffer.concat(parts);
  const length = [];
  let left = body.length;
  do {
    length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>= 7;
  } while (left > 0);
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}

/** A connected device. `publish` resolves when the hub has stored it. */
export async function openDevice(address, user, password) {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  await once(socket, 'connect');
  const waiting = [];
  let rest = Buffer.alloc(0);
  socket.on('data', (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    while (rest.length >= 2 && rest.length >= 2 + rest[1]) {
      if (rest[0] === CONNACK || rest[0] === PUBACK) waiting.shift()?.(rest[3]);
      rest = rest.subarray(2 + rest[1]);
    }
  });
  const answer = () => new Promise((resolve) => waiting.push(resolve));
  const came = answer();
  socket.write(
    packet(0x10, text('MQTT'), Buffer.from([4, 0xc2, 0, 0]), text(user), text(user), text(password)),
  );
  const refused = await came;
  if (refused !== 0) throw new Error(`the hub refused the device: ${refused}`);
  let id = 0;
  return {
    publish: async (topic, payload) => {
      id = (id % 65_535) + 1;
      const stored = answer();
      socket.write(packet(0x32, text(topic), Buffer.from([id >> 8, id & 0xff]), Buffer.from(payload)));
      await stored;
    },
    close: () => socket.destroy(),
  };
}
