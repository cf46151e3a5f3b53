//! What the connections page says in words.
import { expect, test } from 'vitest';
import { droppedOf, sizeOf, transportOf } from './connection';

test('sizes have a unit that fits', () => {
  expect([0, 999, 1000, 12_345, 1_000_000, 2_500_000_000].map(sizeOf)).toEqual([
    '0 B',
    '999 B',
    '1.0 kB',
    '12.3 kB',
    '1.0 MB',
    '2.5 GB',
  ]);
});

test('transports have names, unknown ones stay as they are', () => {
  expect(['tcp', 'wss', 'quic', null].map(transportOf)).toEqual(['TCP', 'WebSocket, TLS', 'quic', '']);
});

test('every reason for a drop is told with its number', () => {
  const counts = { full: 1, slow: 2, memory: 3, large: 4, expired: 5, rights: 6, retained: 7 };
  expect(droppedOf(counts).map((loss) => loss.count)).toEqual([1, 2, 3, 4, 5, 6, 7]);
});
