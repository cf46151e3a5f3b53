import { describe, expect, it } from 'vitest';
import { accept, complete, quoted, type Words } from './complete';

const words: Words = {
  fields: [
    { word: 'online', what: 'there', operators: [] },
    { word: 'tag', what: 'tags', operators: ['=', '!=', '~', 'in', 'exists'] },
    { word: 'state', what: 'state', operators: ['=', '!='] },
  ],
  tags: ['kitchen', 'kid s'],
  groups: ['Hot'],
  capabilities: [],
  scripts: [],
  metrics: ['free_ram', 'soil moisture', 'state'],
  attributes: ['free_ram', 'model'],
};

function offered(text: string): string[] {
  return complete(text, text.length, words).choices.map((choice) => choice.text);
}

describe('complete', () => {
  it('offers fields, metrics and attributes where a condition is expected', () => {
    expect(offered('')).toEqual([
      'online',
      'tag',
      'state',
      'free_ram',
      '"soil moisture"',
      'telemetry.state',
      'model',
      'not',
    ]);
    expect(offered('online and fr')).toEqual(['free_ram']);
    expect(offered('not so')).toEqual(['"soil moisture"']);
    expect(offered('(')).toContain('tag');
  });
  it('offers what a field takes, then the names in use, then how to go on', () => {
    expect(offered('tag ')).toEqual(['=', '!=', '~', 'in', 'exists']);
    expect(offered('free_ram ')[0]).toBe('<');
    expect(offered('tag=')).toEqual(['kitchen', '"kid s"']);
    expect(offered('tag = ki')).toEqual(['kitchen', '"kid s"']);
    expect(offered('state = w')).toEqual(['waiting_for_script']);
    expect(offered('tag in (')).toEqual(['kitchen', '"kid s"']);
    expect(offered('tag in (kitchen, ')).toEqual(['kitchen', '"kid s"']);
    expect(offered('tag in (kitchen ')).toEqual([',', ')']);
    expect(offered('tag=kitchen ')).toEqual(['and', 'or']);
    expect(offered('(online) ')).toEqual(['and', 'or']);
    expect(offered('online a')).toEqual(['and']);
  });
  it('puts a choice in the place of what was begun', () => {
    const text = 'tag=ki and online';
    const completion = complete(text, 6, words);
    expect(accept(text, completion, { text: 'kitchen', what: '' })).toEqual({
      text: 'tag=kitchen and online',
      caret: 12,
    });
  });
  it('quotes what is not plain', () => {
    expect(quoted('a-b.c')).toBe('a-b.c');
    expect(quoted('7')).toBe('"7"');
    expect(quoted('a "b"')).toBe('"a \\"b\\""');
  });
});
