//! The lines of an event stream, as they come in pieces: `event:`, `data:`, and comments that only say that the link is
//! there.

export type StreamEvent = { event: string; data: string };
/** What is left of a piece until the next one comes. */
export type Rest = { text: string; event: string; data: string[] };
export const START: Rest = { text: '', event: '', data: [] };
/** Longer than any event of the hub: what is longer is no event stream. */
const TEXT_MAX = 8_000_000;

/** Takes a piece; answers the events that are whole now, and what is left. */
export function take(rest: Rest, piece: string): { events: StreamEvent[]; rest: Rest } {
  const lines = (rest.text + piece).split(/\r\n|\n/);
  const text = lines.pop() ?? '';
  if (text.length > TEXT_MAX) throw new Error('the event stream has a line without end');
  const events: StreamEvent[] = [];
  let { event, data } = rest;
  for (const line of lines) {
    if (line === '') {
      if (data.length > 0) events.push({ event: event || 'message', data: data.join('\n') });
      [event, data] = ['', []];
      continue;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'event') event = value;
    if (name === 'data') data = [...data, value];
  }
  return { events, rest: { text, event, data } };
}
