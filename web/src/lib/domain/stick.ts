//! The joystick of a robot: where it is held, and what the robot is told. The signs are those of Pyaiot, so that robots
//! in the field turn the way they always did.

/** How far it is pushed, each −1 to 1, to the right and down; never outside a circle. */
export type Push = { x: number; y: number };

/** How often the robot is told while the stick is held. */
export const TELL_EVERY_MS = 1000;
/** The stop is said twice, so that a lost one is not the end of a robot. */
export const STOP_AGAIN_MS = 100;
export const STOP = '0:0:0\n';
export const CENTRE: Push = { x: 0, y: 0 };

const MOST = 255;
const STEP = 0.25;

/** A point as a push: what is outside of the circle is on it. */
export function pushOf(x: number, y: number): Push {
  const length = Math.hypot(x, y);
  return length > 1 ? { x: x / length, y: y / length } : { x, y };
}

/** `dx:dy:sum` and a line feed. */
export function orderOf({ x, y }: Push): string {
  const clamp = (value: number): number => Math.max(-MOST, Math.min(MOST, Math.round(value))) || 0;
  const [dx, dy] = [clamp(-x * MOST), clamp(y * MOST)];
  return `${dx}:${dy}:${clamp(dx + dy)}\n`;
}

/** Where an arrow key moves it; null for keys that mean nothing here. */
export function pushedBy(key: string, { x, y }: Push): Push | null {
  if (key === 'ArrowLeft') return pushOf(x - STEP, y);
  if (key === 'ArrowRight') return pushOf(x + STEP, y);
  if (key === 'ArrowUp') return pushOf(x, y - STEP);
  if (key === 'ArrowDown') return pushOf(x, y + STEP);
  return null;
}

/** For people who do not see it. */
export function wordsOf({ x, y }: Push): string {
  if (Math.hypot(x, y) < 0.01) return 'at rest';
  const percent = (value: number): number => Math.round(Math.abs(value) * 100);
  const parts = [
    percent(y) > 0 ? `${percent(y)} % ${y < 0 ? 'forward' : 'back'}` : '',
    percent(x) > 0 ? `${percent(x)} % ${x < 0 ? 'left' : 'right'}` : '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}
