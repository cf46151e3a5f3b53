import { describe, expect, test } from 'vitest';
import type { ShadowRevision, SharedDevice } from '../lib/api/contract';
import { byName, codeIn, switchedIn, switchesOf, wanting } from './device';

const lamp = (shadow: SharedDevice['shadow'], name = 'Lamp'): SharedDevice => ({
  id: name,
  name,
  name_shown: false,
  right: 'owner',
  until: null,
  shared_by: 'ada',
  online: true,
  last_seen: null,
  model: null,
  firmware: null,
  shadow,
});

describe('switches', () => {
  test('a device that said nothing has none', () => {
    expect(switchesOf(lamp(null))).toEqual([]);
    expect(switchesOf(lamp({ desired: {}, reported: { ota: {}, level: 3 }, version: 1 }))).toEqual([]);
  });

  test('it is pending until the device reports what is wanted', () => {
    const on = (desired: object, reported: object) =>
      switchesOf(lamp({ desired: { ...desired }, reported: { ...reported }, version: 1 }));
    expect(on({}, { on: true })).toEqual([{ name: 'on', on: true, pending: false }]);
    expect(on({ on: true }, { on: false })).toEqual([{ name: 'on', on: true, pending: true }]);
    expect(on({ on: true }, {})).toEqual([{ name: 'on', on: true, pending: true }]);
    expect(on({ on: true }, { on: true })).toEqual([{ name: 'on', on: true, pending: false }]);
  });

  test('the main one comes first', () => {
    const all = switchesOf(lamp({ desired: {}, reported: { fan: true, on: false, beep: true }, version: 1 }));
    expect(all.map((one) => one.name)).toEqual(['on', 'beep', 'fan']);
  });

  test('a wish is shown at once', () => {
    const wished = wanting(lamp({ desired: { level: 1 }, reported: { on: false }, version: 4 }), 'on', true);
    expect(wished.shadow?.desired).toEqual({ level: 1, on: true });
    expect(switchesOf(wished)[0]).toEqual({ name: 'on', on: true, pending: true });
  });
});

test('a code is read out of the link of its QR code', () => {
  expect(codeIn(' ABCD-EFGH ')).toBe('ABCD-EFGH');
  expect(codeIn('http://192.168.1.5:8080/app/#code=ABCD-EFGH')).toBe('ABCD-EFGH');
});

test('devices are in the order of their names', () => {
  expect(byName([lamp(null, 'b'), lamp(null, 'A')]).map((device) => device.name)).toEqual(['A', 'b']);
});

describe('who switched', () => {
  const made = (
    revision: number,
    actor_kind: ShadowRevision['actor_kind'],
    actor: string,
    desired: object,
    reported: object,
  ): ShadowRevision => ({
    revision,
    version: revision,
    at: '2026-01-01T00:00:00Z',
    actor_kind,
    actor,
    desired: { ...desired },
    reported: { ...reported },
    is_deleted: false,
  });

  test('wishes and what changed at the device are told, reports of what was wanted are not', () => {
    const history = [
      made(8, 'user', '', { on: false, fan: true }, { on: true, fan: false, level: 3 }),
      made(7, 'vendor', '', { on: false, fan: false }, { on: true, fan: false, level: 3 }),
      made(6, 'device', '', { on: false }, { on: true, fan: false, level: 3 }),
      made(5, 'device', '', { on: false }, { on: false, fan: false }),
      made(4, 'user', 'bo', { on: false }, { on: true, fan: false }),
      made(3, 'device', '', { on: true }, { on: true, fan: false }),
      made(2, 'you', 'ada', { on: true }, { on: false, fan: false }),
    ];
    expect(switchedIn(history).map(({ name, on, by }) => `${name} ${on} ${by}`)).toEqual([
      'fan true somebody else',
      'fan false the vendor',
      'on true the device itself',
      'on false bo',
      'on true you',
    ]);
    expect(switchedIn([])).toEqual([]);
  });
});
