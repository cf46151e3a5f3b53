//! Colours of lines, as far apart as can be in both themes. A series keeps its colour while it is shown.

const COLOURS = [
  'var(--accent)',
  'light-dark(#b4530f, #f0a35e)',
  'light-dark(#6a3fb5, #b79cf0)',
  'light-dark(#a8245f, #f08bb4)',
  'light-dark(#2f7d32, #7ecb81)',
  'light-dark(#2a5cab, #8ab3f0)',
  'light-dark(#8a6d00, #dfc14d)',
  'light-dark(#5d6974, #a9b6c1)',
];

/** A colour for each key, by its place. */
export function coloursOf(keys: string[]): Record<string, string> {
  return Object.fromEntries(
    keys.map((key, index) => [key, COLOURS[index % COLOURS.length] ?? 'var(--accent)']),
  );
}
