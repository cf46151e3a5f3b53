// The settings of a Mongoose OS device: a tree, shown as fields by their paths, and what of it was changed; and its
// files, which come and go in pieces that fit into its frames.

export type Setting = { path: string; value: string | number | boolean };
export type Tree = { [key: string]: unknown };

/** How many bytes of a file go at once: base64 of it fits into a frame of 4096 bytes with room for the rest. */
export const PIECE_BYTES = 1024;

/** The leaves of a tree with their paths, in its order. */
export function settingsOf(tree: unknown, path = ''): Setting[] {
  if (typeof tree === 'object' && tree !== null && !Array.isArray(tree)) {
    return Object.entries(tree).flatMap(([key, value]) =>
      settingsOf(value, path === '' ? key : `${path}.${key}`),
    );
  }
  const isLeaf = typeof tree === 'string' || typeof tree === 'number' || typeof tree === 'boolean';
  return isLeaf ? [{ path, value: tree }] : [];
}

/** Edited fields as a tree, each with the type that it had. */
export function treeOf(edits: Setting[]): Tree {
  const tree: Tree = {};
  for (const { path, value } of edits) {
    const keys = path.split('.');
    const last = keys.pop() ?? path;
    let at = tree;
    for (const key of keys) {
      const next = at[key];
      at = at[key] = typeof next === 'object' && next !== null ? { ...next } : {};
    }
    at[last] = value;
  }
  return tree;
}

/** A text that was typed, as a value of the type that was there; null if it is none. */
export function typed(text: string, was: Setting['value']): Setting['value'] | null {
  if (typeof was === 'string') return text;
  if (typeof was === 'boolean') return text === 'true' ? true : text === 'false' ? false : null;
  const number = Number(text);
  return text.trim() === '' || !Number.isFinite(number) ? null : number;
}

/** Whether a path names something that should not stand open on a screen. */
export function isSecret(path: string): boolean {
  return /(^|\.)(pass|psk|token|secret|key)$/.test(path);
}

/** Bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** Base64 as bytes. */
export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** A file in pieces; an empty one is one empty piece, so that it is written at all. */
export function piecesOf(bytes: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += PIECE_BYTES) {
    pieces.push(bytes.slice(at, at + PIECE_BYTES));
  }
  return pieces;
}

/** A file as text; null if it is none. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    // A control sign other than tab and line breaks says that this is no text.
    // eslint-disable-next-line no-control-regex
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}
