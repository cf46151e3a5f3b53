import { describe, expect, it } from 'vitest';
import type { Metric } from '../api/contract';
import { isOn, looksOf, type Known } from './looks';
import type { Shadow } from './shadow';

function shadowOf(state: Shadow['state']): Shadow {
  return {
    name: null,
    state,
    metadata: { reported: { led: { timestamp: 5 } } },
    tags: {},
    expiry: {},
    version: 1,
    updated_at: '',
  };
}

function looks(known: Partial<Known>): string[] {
  const whole: Known = { shadow: null, metrics: [], capabilities: [], isOfResources: true, ...known };
  return looksOf(whole).map(({ name, look, isPending }) => `${name}:${look}${isPending ? ' pending' : ''}`);
}

const measured = (metric: string, value: unknown): Metric => ({ metric, value, time: 7000, kind: 'number' });

describe('what a device shows', () => {
  it('comes from its resources, by one table', () => {
    const shadow = shadowOf({
      desired: { led: 1 },
      reported: {
        board: 'samr21',
        led: 0,
        position: { lat: 1, lng: 2 },
        temperature: 21,
        suit_state: 6,
        dwnld: 4,
      },
      delta: { led: 1 },
    });
    expect(looks({ shadow })).toEqual([
      'suit_state:update',
      'led:switch pending',
      'temperature:reading',
      'position:place',
      'board:fact',
    ]);
    expect(looksOf({ shadow, metrics: [], capabilities: [], isOfResources: true })[1]).toMatchObject({
      value: 0,
      desired: 1,
      at: 5000,
    });
  });

  it('shows what it does not know by the kind of its value', () => {
    const shadow = shadowOf({ reported: { constructor: 'x', depth: 3, door: true, list: [1] } });
    expect(looks({ shadow })).toEqual(['door:switch', 'depth:reading', 'constructor:text', 'list:json']);
  });

  it('offers what is done once of a device that only says that it can', () => {
    expect(looks({ capabilities: ['robot', 'ribot', 'js', 'led', 'unheard'] })).toEqual([
      'robot:pad',
      'ribot:stick',
      'js:code',
    ]);
  });

  it('leaves what other devices only measure to their charts', () => {
    const metrics = [measured('temperature', 21), measured('odd', 1), measured('imu', [])];
    expect(looks({ metrics, isOfResources: false })).toEqual(['imu:motion']);
    expect(looks({ metrics })).toEqual(['temperature:reading', 'imu:motion']);
    const shadow = shadowOf({ reported: { led: 1, relay: 1 } });
    expect(looks({ shadow, isOfResources: false })).toEqual(['led:switch']);
  });

  it('knows what is on', () => {
    expect([1, '1', true].map(isOn)).toEqual([true, true, true]);
    expect([0, '0', false, undefined, 'on'].map(isOn)).toEqual([false, false, false, false, false]);
  });
});
