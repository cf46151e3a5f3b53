//! The filter of the activity page: in its address, as a question to the server, and against live changes.
import type { Change } from '../../lib/api/contract';

export type ActivityFilter = { kind: string; noun: string; actor: string; device: string; subject: string };

export function readFilter(params: URLSearchParams): ActivityFilter {
  const read = (name: string): string => params.get(name) ?? '';
  return {
    kind: read('kind'),
    noun: read('noun'),
    actor: read('actor'),
    device: read('device'),
    subject: read('subject'),
  };
}

export function matches(change: Change, filter: ActivityFilter): boolean {
  return (
    (filter.kind === '' || change.kind === filter.kind) &&
    (filter.noun === '' || change.noun === filter.noun) &&
    (filter.actor === '' || change.actor.name === filter.actor) &&
    (filter.device === '' || change.device === filter.device) &&
    (filter.subject === '' || change.subject === filter.subject)
  );
}
