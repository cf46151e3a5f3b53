import { describe, expect, it } from 'vitest';
import { downloadedOf, updateOf } from './update';

describe('the update of a node', () => {
  it('has a name for each state', () => {
    expect([undefined, null, 0, '0', ''].map(updateOf)).toEqual([null, null, null, null, null]);
    expect(updateOf(1)?.text).toBe('Triggered');
    expect(updateOf('6')).toMatchObject({ text: 'Downloading', isMoving: true });
    expect([3, 5, 8, 10].map((state) => updateOf(state)?.tone)).toEqual(['bad', 'bad', 'bad', 'bad']);
    expect(updateOf(11)).toMatchObject({ text: 'Complete', tone: 'ok', isMoving: false });
    expect(updateOf(7)?.text).toBe('State 7');
  });

  it('says how much is there only while it downloads', () => {
    expect(downloadedOf(6, '42')).toBe(42);
    expect(downloadedOf(6, 300)).toBe(100);
    expect(downloadedOf(6, undefined)).toBe(0);
    expect(downloadedOf(9, 42)).toBeNull();
    expect(downloadedOf(6, 'half')).toBeNull();
  });
});
