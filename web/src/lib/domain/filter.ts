//! The filter of the device list: how it lives in the URL of the page and how it becomes a question to the
//! server.

export type StateChip = 'online' | 'offline' | 'failing' | 'pending';
export type DeviceSort = 'name' | '-name' | 'last_seen' | '-last_seen' | 'state';
export type DeviceFilter = {
  text: string;
  selector: string;
  chips: StateChip[];
  sort: DeviceSort;
  offset: number;
};

export const PAGE_SIZE = 50;
export const CHIPS: StateChip[] = ['online', 'offline', 'failing', 'pending'];
const SORTS: DeviceSort[] = ['name', '-name', 'last_seen', '-last_seen', 'state'];
const CONDITION: Record<StateChip, string> = {
  online: 'online',
  offline: 'not online',
  failing: 'failing',
  pending: 'pending',
};
/** Chips of which only one makes sense at a time. */
const OPPOSITE: Partial<Record<StateChip, StateChip>> = { online: 'offline', offline: 'online' };

export function readFilter(params: URLSearchParams): DeviceFilter {
  const wanted = (params.get('state') ?? '').split(',');
  const sort = SORTS.find((known) => known === params.get('sort')) ?? 'name';
  return {
    text: params.get('q') ?? '',
    selector: params.get('selector') ?? '',
    chips: CHIPS.filter((chip) => wanted.includes(chip)),
    sort,
    offset: readOffset(params),
  };
}

export function readOffset(params: URLSearchParams): number {
  const offset = Number.parseInt(params.get('offset') ?? '', 10);
  return Number.isFinite(offset) && offset > 0 ? offset : 0;
}

export function writeFilter(filter: DeviceFilter): URLSearchParams {
  return writeParams({
    q: filter.text,
    selector: filter.selector,
    state: filter.chips.join(','),
    sort: filter.sort === 'name' ? '' : filter.sort,
    offset: filter.offset > 0 ? String(filter.offset) : '',
  });
}

/** Parameters without the empty ones, so that an unfiltered page has a plain address. */
export function writeParams(values: Record<string, string>): URLSearchParams {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== '') params.set(name, value);
  return params;
}

export function toggleChip(chips: StateChip[], chip: StateChip): StateChip[] {
  if (chips.includes(chip)) return chips.filter((other) => other !== chip);
  return CHIPS.filter((other) => other === chip || (chips.includes(other) && other !== OPPOSITE[chip]));
}

/** The selector the server is asked for: what was typed and all chips must hold. */
export function selectorOf(filter: Pick<DeviceFilter, 'selector' | 'chips'>): string {
  const typed = filter.selector.trim();
  const conditions = filter.chips.map((chip) => CONDITION[chip]);
  if (typed === '') return conditions.join(' and ');
  return conditions.length === 0 ? typed : [`(${typed})`, ...conditions].join(' and ');
}

export function queryOf(filter: DeviceFilter): Record<string, string | number> {
  return {
    q: filter.text.trim(),
    selector: selectorOf(filter),
    sort: filter.sort,
    offset: filter.offset,
    limit: PAGE_SIZE,
  };
}

export function isFiltered(filter: DeviceFilter): boolean {
  return filter.text.trim() !== '' || selectorOf(filter) !== '';
}

/** A tag as a selector, quoted when it holds anything but plain characters. */
export function tagSelector(tag: string): string {
  return /^[A-Za-z0-9_.-]+$/.test(tag) ? `tag=${tag}` : `tag="${tag.replace(/(["\\])/g, '\\$1')}"`;
}

/** «kitchen, north wing» → tags without blanks around them, without empty and repeated ones. */
export function parseTags(text: string): string[] {
  return [
    ...new Set(
      text
        .split(',')
        .map((tag) => tag.trim())
        .filter((tag) => tag !== ''),
    ),
  ];
}
