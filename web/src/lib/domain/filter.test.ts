//! Tests of filter: what people see must be right at the edges too.
import { expect, test } from 'vitest';
import { parseTags, queryOf, readFilter, selectorOf, tagSelector, toggleChip, writeFilter } from './filter';

test('a filter comes back from the address as it was', () => {
  const params = new URLSearchParams(
    'q=lamp&selector=tag%3Dkitchen&state=online%2Cpending&sort=-name&offset=50',
  );
  const filter = readFilter(params);
  expect(filter).toEqual({
    text: 'lamp',
    selector: 'tag=kitchen',
    chips: ['online', 'pending'],
    sort: '-name',
    offset: 50,
  });
  expect(writeFilter(filter).toString()).toBe(params.toString());
});

test('an unfiltered list has a plain address', () => {
  expect(writeFilter(readFilter(new URLSearchParams(''))).toString()).toBe('');
});

test('nonsense in the address is left out', () => {
  const filter = readFilter(new URLSearchParams('state=broken&sort=colour&offset=-3'));
  expect(filter).toMatchObject({ chips: [], sort: 'name', offset: 0 });
});

test('online and offline exclude each other, other chips add up', () => {
  expect(toggleChip(['online'], 'offline')).toEqual(['offline']);
  expect(toggleChip(['online'], 'failing')).toEqual(['online', 'failing']);
  expect(toggleChip(['online', 'failing'], 'online')).toEqual(['failing']);
});

test('what was typed is bracketed before the chips are added', () => {
  expect(selectorOf({ selector: 'tag=a or tag=b', chips: ['offline'] })).toBe(
    '(tag=a or tag=b) and not online',
  );
  expect(selectorOf({ selector: ' ', chips: ['failing', 'pending'] })).toBe('failing and pending');
  expect(selectorOf({ selector: 'all', chips: [] })).toBe('all');
});

test('the server is asked for one page', () => {
  expect(queryOf(readFilter(new URLSearchParams('q=%20x%20&offset=100')))).toEqual({
    q: 'x',
    selector: '',
    sort: 'name',
    offset: 100,
    limit: 50,
  });
});

test('a tag with a blank or a quote is quoted', () => {
  expect(tagSelector('kitchen')).toBe('tag=kitchen');
  expect(tagSelector('north wing')).toBe('tag="north wing"');
  expect(tagSelector('a"b\\')).toBe('tag="a\\"b\\\\"');
});

test('tags are parted by commas, trimmed, and kept once', () => {
  expect(parseTags(' kitchen, lab ,,kitchen, north wing')).toEqual(['kitchen', 'lab', 'north wing']);
});
