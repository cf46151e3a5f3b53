import { describe, expect, it } from 'vitest';
import type { Device, Gateway, PyaiotKey } from '../api/contract';
import { branchesOf, countText, DOTS_MAX, layoutOf, NAMED_MAX, sizeOfBranch } from './gateway';

const device = (name: string, gateway: string | null, reach: Device['reach'] = 'online'): Device =>
  ({ id: name, name, gateway, reach }) as Device;
const gatewayOf = (id: string, edit: Partial<Gateway> = {}): Gateway =>
  ({
    id,
    name: id,
    state: 'lost',
    link: null,
    devices_online: 0,
    devices_unreachable: 0,
    ...edit,
  }) as Gateway;
const many = (count: number, gateway: string | null): Device[] =>
  Array.from({ length: count }, (_, index) => device(`${gateway} ${index}`, gateway));

describe('the picture of gateways', () => {
  it('has those without a gateway first, and unreachable devices before others', () => {
    const devices = [device('a', null), device('b', 'cellar'), device('c', 'cellar', 'unreachable')];
    const branches = branchesOf({ gateways: [gatewayOf('cellar')], pyaiot: [], devices, total: 3 });
    expect(branches.map(({ title, leaves }) => [title, leaves.map(({ name }) => name)])).toEqual([
      ['Directly', ['a']],
      ['cellar', ['c', 'b']],
    ]);
    expect(branchesOf({ gateways: [], pyaiot: [], devices: [], total: 0 })).toEqual([]);
  });

  it('collapses many devices to numbers', () => {
    const devices = many(DOTS_MAX + 1, 'cellar');
    const [branch] = branchesOf({
      gateways: [gatewayOf('cellar')],
      pyaiot: [],
      devices,
      total: devices.length,
    });
    expect(branch?.leaves).toEqual([]);
    expect(branch && countText(branch.more)).toBe(`${DOTS_MAX + 1} online`);
  });

  it('counts what was not loaded', () => {
    const gateways = [gatewayOf('cellar', { devices_online: 700, devices_unreachable: 3 })];
    const devices = [...many(10, 'cellar'), ...many(5, null)];
    const branches = branchesOf({ gateways, pyaiot: [], devices, total: 1000 });
    expect(branches.map((branch) => [branch.title, sizeOfBranch(branch)])).toEqual([
      ['Directly', 297],
      ['cellar', 703],
    ]);
  });

  it('has the gateways of Pyaiot', () => {
    const pyaiot = [
      { id: 'k', name: 'attic', gateways: [{ address: '10.0.0.9', devices: 2, listens: false }] },
    ] as PyaiotKey[];
    const [branch] = branchesOf({ gateways: [], pyaiot, devices: [], total: 0 });
    expect(branch).toMatchObject({ title: '10.0.0.9', note: 'Pyaiot, key attic', tone: 'bad' });
  });

  it('is drawn without anything outside or on top of another', () => {
    const devices = [...many(3, null), ...many(NAMED_MAX + 30, 'cellar')];
    const branches = branchesOf({
      gateways: [gatewayOf('cellar')],
      pyaiot: [],
      devices,
      total: devices.length,
    });
    for (const width of [340, 900]) {
      const { rows, height, hub } = layoutOf(branches, width);
      const dots = rows.flatMap((row) => row.dots);
      expect(dots.length).toBe(devices.length);
      for (const { x, y } of dots) expect(x > 0 && x < width && y > 0 && y < height).toBe(true);
      expect(new Set(dots.map(({ x, y }) => `${x} ${y}`)).size).toBe(dots.length);
      expect(hub.y).toBeGreaterThan(0);
    }
  });

  it('cuts names where there is no room', () => {
    const devices = [device('A device with a very long name', null, 'offline')];
    const branches = branchesOf({ gateways: [], pyaiot: [], devices, total: 1 });
    const texts = [330, 1200].map((width) => layoutOf(branches, width).rows[0]?.dots[0]?.text);
    expect(texts).toEqual(['A device with a…', 'A device with a very long name · offline']);
  });
});
