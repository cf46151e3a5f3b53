import { describe, expect, it } from 'vitest';
import { sentenceOf, standingOf } from './node';

describe('nodes', () => {
  it('say where they stand', () => {
    const seen_at = '2027-01-15T08:00:00Z';
    expect(standingOf({ alive: true, draining: false, seen_at }).text).toBe('Here');
    expect(standingOf({ alive: true, draining: true, seen_at }).text).toBe('Ends');
    expect(standingOf({ alive: false, draining: false, seen_at }).text).toBe('Gone');
    expect(standingOf({ alive: false, draining: false, seen_at: null }).text).toBe('Ended');
  });

  it('have a sentence and advice for what is wrong, and nothing for what is unknown', () => {
    for (const code of ['store_away', 'bus_away', 'clock', 'draining']) {
      expect(sentenceOf({ code, since: null })?.todo).toBeTruthy();
    }
    expect(sentenceOf({ code: 'new', since: null })).toBeNull();
  });
});
