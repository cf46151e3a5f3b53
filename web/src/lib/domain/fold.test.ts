//! Tests of fold: who comes and goes takes one line, and hides nothing else.
import { expect, test } from 'vitest';
import type { Change } from '../api/contract';
import { fold } from './fold';

const BEGIN = Date.parse('2026-11-21T02:30:00.000Z');

/** From words such as «lamp+ 5s»: lamp came online five seconds after the begin; newest first. */
function changes(...words: string[]): Change[] {
  return words.map((word, index) => {
    const [, device, what, seconds] = /^(\w+)([-+!]) (\d+)s$/.exec(word) ?? [];
    const kind = { '+': 'device_online', '-': 'device_offline' }[what ?? ''] ?? 'device_edited';
    return {
      seq: words.length - index,
      time: new Date(BEGIN + Number(seconds) * 1000).toISOString(),
      actor: { kind: 'device', name: device ?? '' },
      kind,
      noun: 'device',
      subject: device ?? '',
      subject_name: device ?? '',
      device: device ?? '',
    };
  });
}

test.each<[string, string[], string[]]>([
  ['nothing is nothing', [], []],
  ['one is itself', ['lamp+ 5s'], ['1 x1']],
  ['a restart is one line', ['lamp+ 9s', 'lamp- 5s'], ['2 x2']],
  [
    'two boards that restart in turn are two lines, where they were last',
    ['a+ 9s', 'b- 8s', 'a- 7s', 'b+ 6s', 'a+ 5s'],
    ['5 x3', '4 x2'],
  ],
  [
    'what a person did stands between',
    ['lamp+ 9s', 'lamp- 8s', 'lamp! 7s', 'lamp+ 6s', 'lamp- 5s'],
    ['5 x2', '3 x1', '2 x2'],
  ],
  ['a rest ends it', ['lamp- 5000s', 'lamp+ 601s', 'lamp- 1s'], ['3 x1', '2 x2']],
])('%s', (_, words, lines) => {
  expect(fold(changes(...words)).map(({ change, times }) => `${change.seq} x${times}`)).toEqual(lines);
});
