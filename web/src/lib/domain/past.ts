//! What was made, what was before it, and what was undone: for everything that is drawn or built and can be undone.

const PAST_MAX = 200;

export type Past<T> = { before: T[]; now: T; after: T[]; key: string | null };

export const begin = <T>(now: T): Past<T> => ({ before: [], now, after: [], key: null });

/** A new state. Those that follow each other with the same key, such as letters of a name, are undone at once. */
export function next<T>(past: Past<T>, now: T, key: string | null = null): Past<T> {
  if (now === past.now) return past;
  const goesOn = key !== null && key === past.key;
  const before = goesOn ? past.before : [...past.before, past.now].slice(-PAST_MAX);
  return { before, now, after: [], key };
}

export function undo<T>(past: Past<T>): Past<T> {
  const now = past.before.at(-1);
  if (now === undefined) return past;
  return { before: past.before.slice(0, -1), now, after: [past.now, ...past.after], key: null };
}

export function redo<T>(past: Past<T>): Past<T> {
  const [now, ...after] = past.after;
  return now === undefined ? past : { before: [...past.before, past.now], now, after, key: null };
}
