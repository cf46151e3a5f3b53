import { describe, expect, it } from 'vitest';
import { GROUPS, kindOf } from './blocks';
import * as dash from './dashboard';
import type { Block, Document, Kind } from './dashboard';

const KINDS = GROUPS.flatMap(([, kinds]) => kinds);

function built(...kinds: Kind[]): Document {
  return kinds.reduce((document, kind) => dash.add(document, kind).document, dash.empty('Greenhouse'));
}

const blockIn = (document: Document, id: string): Block => {
  const block = document.blocks.find((one) => one.id === id);
  if (block === undefined) throw new Error(id);
  return block;
};

describe('a dashboard', () => {
  it('has sixteen kinds of blocks, each told once', () => {
    expect(new Set(KINDS).size).toBe(16);
    for (const kind of KINDS) {
      expect(kindOf(kind).size.w).toBeLessThanOrEqual(12);
      expect(kindOf(kind).about).toMatch(/\.$/);
    }
  });

  it('takes blocks where there is room, each with an id of its own', () => {
    const document = built('value', 'value', 'gauge', 'chart');
    expect(document.blocks.map(({ id, x, y }) => [id, x, y])).toEqual([
      ['b1', 0, 0],
      ['b2', 3, 0],
      ['b3', 6, 0],
      ['b4', 0, 2],
    ]);
  });

  it('copies a block with all that is set', () => {
    const document = dash.set(built('slider'), 'b1', { title: 'Pump', max: 7 });
    const copied = dash.copy(document, 'b1');
    expect(copied?.id).toBe('b2');
    expect(copied && blockIn(copied.document, 'b2')).toMatchObject({ title: 'Pump', max: 7, x: 4, y: 0 });
    expect(dash.copy(document, 'b9')).toBeNull();
  });

  it('closes the gap of a block that is removed', () => {
    const document = dash.withCells(built('value', 'value'), [
      { id: 'b1', x: 0, y: 0, w: 12, h: 2 },
      { id: 'b2', x: 0, y: 2, w: 3, h: 2 },
    ]);
    expect(dash.remove(document, 'b1').blocks).toMatchObject([{ id: 'b2', y: 0 }]);
  });

  it('is the same document when nothing moved', () => {
    const document = built('value', 'chart');
    expect(dash.withCells(document, document.blocks.map(dash.cellOf))).toBe(document);
    expect(dash.laidOut(document)).toBe(document);
  });

  it('sets members and takes them away', () => {
    const document = dash.set(built('value'), 'b1', { unit: '°C' });
    expect(blockIn(document, 'b1')).toMatchObject({ unit: '°C' });
    expect('unit' in blockIn(dash.set(document, 'b1', { unit: undefined }), 'b1')).toBe(false);
  });

  it('says what is missing', () => {
    const document = built(...KINDS);
    const missing = Object.fromEntries(document.blocks.map((block) => [block.kind, dash.missingOf(block)]));
    expect(missing).toMatchObject({
      value: 'Choose a device or a group.',
      flow: 'Choose a flow.',
      alarms: null,
    });
    const of = { selector: 'tag=kitchen' };
    const ready = (id: string, more: Record<string, unknown>): string | null =>
      dash.missingOf(blockIn(dash.set(document, id, { of, ...more }), id));
    expect(ready('b1', { read: { metric: 'temperature' } })).toBeNull();
    expect(ready('b2', { read: { presence: true }, min: 5, max: 5 })).toContain('above the lowest');
    expect(dash.titleOf(blockIn(document, 'b3'))).toBe('Line chart');
  });

  it.each([
    ['no json', 'no JSON'],
    ['[]', 'no dashboard'],
    ['null', 'no dashboard'],
    ['{"format":"other/1"}', 'no dashboard'],
  ])('refuses the file %s', (text, why) => {
    expect(dash.readFile(text)).toMatchObject({ mistake: expect.stringContaining(why) as string });
  });

  it('takes a file of a newer format to the hub, which knows what it can read', () => {
    expect(dash.readFile('{"format":"motehub-dashboard/2"}')).toHaveProperty('document');
  });
});
