import { describe, expect, it } from 'vitest';
import { partsOf, safeAddress, type Part } from './markdown';

/** All addresses that a tree leads to. */
function addresses(tree: unknown): string[] {
  if (Array.isArray(tree)) return tree.flatMap(addresses);
  if (typeof tree !== 'object' || tree === null) return [];
  const own = 'href' in tree ? [String(tree.href)] : [];
  return [...own, ...Object.values(tree).flatMap(addresses)];
}

const text = (markdown: string): Part[] => partsOf(markdown);

describe('Markdown', () => {
  it('becomes headings, lists, tables and words', () => {
    expect(text('# Air *now*')).toEqual([
      {
        is: 'heading',
        depth: 1,
        of: [
          { is: 'text', text: 'Air ' },
          { is: 'em', of: [{ is: 'text', text: 'now' }] },
        ],
      },
    ]);
    expect(text('3. a\n4. b')).toMatchObject([{ is: 'list', ordered: true, start: 3, items: [{}, {}] }]);
    expect(text('- [x] done\n- [ ] not')).toMatchObject([
      { is: 'list', items: [{ checked: true }, { checked: false }] },
    ]);
    expect(text('|a|b|\n|-|-|\n|1|2|')).toMatchObject([{ is: 'table', head: [{}, {}], rows: [[{}, {}]] }]);
    expect(text('> a\n\n---\n\n```\n<b>\n```')).toMatchObject([
      { is: 'quote' },
      { is: 'rule' },
      { is: 'code', text: '<b>' },
    ]);
    expect(text('AT&amp;T & `a<b`')).toEqual([
      {
        is: 'paragraph',
        of: [
          { is: 'text', text: 'AT&T & ' },
          { is: 'code', text: 'a<b' },
        ],
      },
    ]);
  });

  it.each([
    '<script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    '<svg/onload=alert(1)>',
    'a <b onclick="alert(1)">b</b> c',
    '<iframe src="javascript:alert(1)"></iframe>',
  ])('keeps HTML as text: %s', (hostile) => {
    const shown = JSON.stringify(text(hostile));
    expect(shown).toContain('<');
    for (const part of text(hostile)) expect(part.is).toBe('paragraph');
    expect(addresses(text(hostile))).toEqual([]);
  });

  it.each([
    '[a](javascript:alert(1))',
    '[a](JaVaScRiPt:alert(1))',
    '[a](java\tscript:alert(1))',
    '[a](&#106;avascript:alert(1))',
    '[a](data:text/html,<script>alert(1)</script>)',
    '[a](vbscript:x)',
    '[a](//evil.example)',
    '[a](/\\evil.example)',
    '[a][b]\n\n[b]: javascript:alert(1)',
    '<javascript:alert(1)>',
    '![a](https://evil.example/seen.png)',
    '![a](javascript:alert(1))',
  ])('makes no link of %s', (hostile) => {
    expect(addresses(text(hostile))).toEqual([]);
  });

  it('keeps links that only lead somewhere', () => {
    expect(addresses(text('[a](https://x.example/?q=1) [b](/devices) <mailto:ada@example.org>'))).toEqual([
      'https://x.example/?q=1',
      '/devices',
      'mailto:ada@example.org',
    ]);
    expect(safeAddress('#top')).toBe('#top');
    expect(safeAddress('devices')).toBeNull();
  });

  it('ends at a depth', () => {
    const deep = `${'> '.repeat(400)}end`;
    expect(JSON.stringify(text(deep)).length).toBeLessThan(1000);
    expect(JSON.stringify(text(`${'**a '.repeat(300)}`)).length).toBeLessThan(5000);
  });
});
