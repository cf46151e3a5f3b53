import { describe, expect, it } from 'vitest';
import { CENTRE, orderOf, pushedBy, pushOf, wordsOf } from './stick';

describe('the joystick', () => {
  it('says what Pyaiot’s said, and never more than a byte', () => {
    expect(orderOf(CENTRE)).toBe('0:0:0\n');
    expect(orderOf({ x: 1, y: 0 })).toBe('-255:0:-255\n');
    expect(orderOf({ x: 0, y: -1 })).toBe('0:-255:-255\n');
    expect(orderOf({ x: 0, y: 1 })).toBe('0:255:255\n');
    expect(orderOf({ x: -0.5, y: 0.5 })).toBe('128:128:255\n');
    expect(orderOf(pushOf(-3, 4))).toBe('153:204:255\n');
  });

  it('stays in its circle', () => {
    expect(pushOf(3, 4)).toEqual({ x: 0.6, y: 0.8 });
    expect(pushOf(0.1, -0.2)).toEqual({ x: 0.1, y: -0.2 });
  });

  it('is pushed by arrow keys', () => {
    const keys = ['ArrowUp', 'ArrowUp', 'ArrowLeft'];
    const push = keys.reduce((now, key) => pushedBy(key, now) ?? now, CENTRE);
    expect(push).toEqual({ x: -0.25, y: -0.5 });
    expect(pushedBy('Tab', CENTRE)).toBeNull();
    expect(wordsOf(push)).toBe('50 % forward, 25 % left');
    expect(wordsOf(CENTRE)).toBe('at rest');
  });
});
