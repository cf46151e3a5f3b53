import { describe, expect, it } from 'vitest';
import { answerOf, argsOf, isOpen, lineOf } from './command';

describe('commands', () => {
  it('shows any value on one line', () => {
    expect(lineOf(null)).toBe('');
    expect(lineOf('on')).toBe('on');
    expect(lineOf({ on: [1, true] })).toBe('{"on":[1,true]}');
  });

  it('shows result and reason together', () => {
    expect(answerOf({ result: 7, reason: 'late' })).toBe('7 · late');
    expect(answerOf({ result: null, reason: null })).toBe('');
  });

  it('takes arguments as JSON, or nothing', () => {
    expect(argsOf('  ')).toEqual({ args: null });
    expect(argsOf('{"on":true}')).toEqual({ args: { on: true } });
    expect(argsOf('{on}')).toHaveProperty('error');
  });

  it('knows which answers are awaited', () => {
    expect(['Queued', 'Sent', 'Done', 'Failed', 'Expired'].filter((s) => isOpen(s as 'Sent'))).toEqual([
      'Queued',
      'Sent',
    ]);
  });
});
