//! How far a node is with new firmware, as it says by `suit_state` and `dwnld`.
import type { Tone } from './state';

export type UpdateState = { text: string; tone: Tone; isMoving: boolean };

const STATES: Record<number, UpdateState> = {
  1: { text: 'Triggered', tone: 'info', isMoving: true },
  2: { text: 'Validating the signature', tone: 'info', isMoving: true },
  3: { text: 'The signature is wrong', tone: 'bad', isMoving: false },
  5: { text: 'Refused: it is not newer than what runs', tone: 'bad', isMoving: false },
  6: { text: 'Downloading', tone: 'info', isMoving: true },
  8: { text: 'The download failed', tone: 'bad', isMoving: false },
  9: { text: 'Validating the digest', tone: 'info', isMoving: true },
  10: { text: 'The digest is wrong', tone: 'bad', isMoving: false },
  11: { text: 'Complete', tone: 'ok', isMoving: false },
};
const DOWNLOADING = 6;

/** What a state means; null while there is no update. */
export function updateOf(state: unknown): UpdateState | null {
  const number = Number(state);
  if (state === undefined || state === null || state === '' || number === 0) return null;
  return STATES[number] ?? { text: `State ${String(state)}`, tone: 'idle', isMoving: false };
}

/** How many percent are downloaded; null unless that goes on. */
export function downloadedOf(state: unknown, downloaded: unknown): number | null {
  const percent = Number(downloaded ?? 0);
  if (Number(state) !== DOWNLOADING || !Number.isFinite(percent)) return null;
  return Math.max(0, Math.min(100, percent));
}
