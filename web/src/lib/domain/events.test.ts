import { expect, it } from 'vitest';
import { START, take, type StreamEvent } from './events';

const STREAM =
  ': hello\n\nevent: block\ndata: {"a":1}\n\nevent:points\r\ndata: x\r\ndata: y\r\n\r\ndata\n\nid: 7\n\nevent: lost\n';

it.each([1, 2, 7, 1000])('reads events from pieces of %i characters', (size) => {
  let rest = START;
  const all: StreamEvent[] = [];
  for (let at = 0; at < STREAM.length; at += size) {
    const taken = take(rest, STREAM.slice(at, at + size));
    rest = taken.rest;
    all.push(...taken.events);
  }
  expect(all).toEqual([
    { event: 'block', data: '{"a":1}' },
    { event: 'points', data: 'x\ny' },
    { event: 'message', data: '' },
  ]);
});

it('does not gather a line without end', () => {
  expect(() => take(START, 'x'.repeat(8_000_001))).toThrow('without end');
});
