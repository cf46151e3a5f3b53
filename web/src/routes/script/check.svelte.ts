//! Asks the server, a moment after the last keystroke, whether the source is in its language. Old answers are thrown
//! away.
import { asProblem } from '../../lib/api/client';
import type { Syntax } from '../../lib/api/contract';

const REST_MS = 400;

export type Checked = { kind: 'unknown' } | { kind: 'checking' } | { kind: 'done'; syntax: Syntax };

/** Must be called while a component is set up. */
export function syntaxOf(
  source: () => string,
  check: (source: string, signal: AbortSignal) => Promise<Syntax>,
): { readonly state: Checked } {
  let state = $state.raw<Checked>({ kind: 'unknown' });

  $effect(() => {
    const text = source();
    if (text.trim() === '') {
      state = { kind: 'unknown' };
      return;
    }
    const own = new AbortController();
    const timer = setTimeout(() => {
      check(text, own.signal).then(
        (syntax) => (state = { kind: 'done', syntax }),
        (error: unknown) => asProblem(error).code !== 'aborted' && (state = { kind: 'unknown' }),
      );
    }, REST_MS);
    return () => {
      clearTimeout(timer);
      own.abort();
    };
  });

  return {
    get state() {
      return state;
    },
  };
}
