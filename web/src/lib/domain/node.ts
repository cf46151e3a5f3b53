//! What is said of the nodes of a hub and of what is wrong between them.
import type { Tone } from './state';

export type Trouble = { code: string; since: string | null };
export type Readiness = { ready: boolean; node: string; why: Trouble[] };

type Standing = { alive: boolean; draining: boolean; seen_at?: string | null };

const SENTENCES: Record<string, { what: string; todo: string }> = {
  store_away: {
    what: 'The database does not answer. Nothing new is stored or acknowledged; devices keep what they have and stay connected.',
    todo: 'Look after PostgreSQL and the network to it. The hub goes on by itself when it answers.',
  },
  bus_away: {
    what: 'The bus between the nodes is away. What happens at other nodes is seen here some seconds late.',
    todo: 'Look after NATS and the network to it. Nothing is lost; the hub goes on by itself when it is back.',
  },
  clock: {
    what: 'The clock of this node and that of the database are apart, so times of what devices say are wrong.',
    todo: 'Have both machines set their clocks by NTP.',
  },
  draining: {
    what: 'This node ends, and hands over what it does to the others.',
    todo: 'Your browser is connected to another node by itself.',
  },
};

/** What a person reads of a trouble; none of those that they need not know. */
export function sentenceOf(trouble: Trouble): { what: string; todo: string } | null {
  return SENTENCES[trouble.code] ?? null;
}

/** Where a node stands, in a word. */
export function standingOf(node: Standing): { tone: Tone; text: string; sentence: string } {
  if (node.alive && node.draining) {
    return { tone: 'warn', text: 'Ends', sentence: 'It takes nothing any more and hands over what it does.' };
  }
  if (node.alive) return { tone: 'ok', text: 'Here', sentence: 'It was seen in the last seconds.' };
  return node.seen_at === null || node.seen_at === undefined
    ? { tone: 'idle', text: 'Ended', sentence: 'It was ended in good order.' }
    : { tone: 'bad', text: 'Gone', sentence: 'It was not seen for some seconds; the others do its work.' };
}
