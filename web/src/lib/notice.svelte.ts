//! Short notices at the edge of the page: what was done, or why it was not. Read aloud by screen readers.
import { asProblem } from './api/client';

export type Notice = { id: number; tone: 'ok' | 'bad'; text: string };

const SHOWN_MS = 6000;
const SHOWN_MAX = 4;
let notices = $state.raw<Notice[]>([]);
let next = 1;

export function currentNotices(): Notice[] {
  return notices;
}

export function say(text: string, tone: Notice['tone'] = 'ok'): void {
  const notice = { id: next, tone, text };
  next += 1;
  notices = [...notices, notice].slice(-SHOWN_MAX);
  setTimeout(() => dismiss(notice.id), tone === 'bad' ? SHOWN_MS * 2 : SHOWN_MS);
}

export function dismiss(id: number): void {
  notices = notices.filter((notice) => notice.id !== id);
}

/** Does something on the server; says what was done, or the problem. Answers whether it worked. */
export async function attempt(deed: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await deed();
    if (done !== undefined) say(done);
    return true;
  } catch (error) {
    const problem = asProblem(error);
    if (problem.code !== 'aborted') say(problem.detail, 'bad');
    return false;
  }
}
