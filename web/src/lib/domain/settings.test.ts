import { describe, expect, it } from 'vitest';
import { fromBase64, isSecret, piecesOf, settingsOf, textOf, toBase64, treeOf, typed } from './settings';

const CONFIG = {
  wifi: { sta: { enable: true, ssid: 'Home', pass: 'x' } },
  debug: { level: 2 },
  list: [1],
  nothing: null,
};

describe('settings', () => {
  it('are the leaves of a tree', () => {
    expect(settingsOf(CONFIG)).toEqual([
      { path: 'wifi.sta.enable', value: true },
      { path: 'wifi.sta.ssid', value: 'Home' },
      { path: 'wifi.sta.pass', value: 'x' },
      { path: 'debug.level', value: 2 },
    ]);
  });

  it('go back as a tree of what was changed', () => {
    const edits = [
      { path: 'wifi.sta.ssid', value: 'Away' },
      { path: 'wifi.sta.enable', value: false },
      { path: 'debug.level', value: 3 },
    ];
    expect(treeOf(edits)).toEqual({ wifi: { sta: { ssid: 'Away', enable: false } }, debug: { level: 3 } });
  });

  it('keep their types', () => {
    expect(typed('3', 2)).toBe(3);
    expect(typed('3', '2')).toBe('3');
    expect(typed('false', true)).toBe(false);
    expect([typed('', 2), typed('three', 2), typed('no', true)]).toEqual([null, null, null]);
  });

  it('that are secrets are known by their names', () => {
    expect(['wifi.sta.pass', 'dash.token', 'key'].every(isSecret)).toBe(true);
    expect(['wifi.sta.ssid', 'device.id', 'keyboard'].some(isSecret)).toBe(false);
  });
});

describe('files', () => {
  it('come and go in pieces', () => {
    const bytes = Uint8Array.from({ length: 2500 }, (_, at) => at % 256);
    const pieces = piecesOf(bytes);
    expect(pieces.map((piece) => piece.length)).toEqual([1024, 1024, 452]);
    expect(pieces.flatMap((piece) => [...fromBase64(toBase64(piece))])).toEqual([...bytes]);
    expect(piecesOf(new Uint8Array()).map((piece) => piece.length)).toEqual([0]);
  });

  it('are texts or not', () => {
    expect(textOf(new TextEncoder().encode('größe\n\t'))).toBe('größe\n\t');
    expect(textOf(Uint8Array.from([0, 1, 2]))).toBe(null);
    expect(textOf(Uint8Array.from([0xff]))).toBe(null);
  });
});
