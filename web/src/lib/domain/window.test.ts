//! Tests of windows of time: what people see must be right at the edges too.
import { describe, expect, it } from 'vitest';
import { edgesOf, fixed, keyOf, moved, SPAN_MIN, windowIn, withWindow, zoomed } from './window';

const params = (text: string): URLSearchParams => new URLSearchParams(text);

describe('the window of charts', () => {
  it('is read from the address and written back', () => {
    expect(windowIn(params(''), '24h')).toEqual({ kind: 'live', span: 86_400_000 });
    expect(keyOf(windowIn(params('range=7d'), '24h'))).toBe('7d');
    expect(windowIn(params('from=1000&to=5000'), '1h')).toEqual({ kind: 'fixed', from: 1000, to: 5000 });
    expect(keyOf(windowIn(params('from=9&to=5&range=1y'), '1h'))).toBe('1y');
    expect(keyOf(windowIn(params('range=soon'), '1h'))).toBe('1h');
    const written = withWindow(params('series=a:b&range=1h'), fixed(1000, 5000)).toString();
    expect(written).toBe('series=a%3Ab&from=1000&to=5000');
  });

  it('is zoomed around a moment and moved', () => {
    expect(zoomed(fixed(0, 1000), 0, 0.5, 500)).toEqual(fixed(250, 750));
    expect(zoomed(fixed(0, 1000), 0, 2, 0)).toEqual(fixed(0, 2000));
    expect(moved(fixed(0, 1000), 0, -0.5)).toEqual(fixed(-500, 500));
    expect(edgesOf({ kind: 'live', span: 10 }, 100)).toEqual([90, 100]);
    const [from, to] = edgesOf(zoomed(fixed(0, 1000), 0, 1e-9, 400), 0);
    expect(to - from).toBe(SPAN_MIN);
  });
});
