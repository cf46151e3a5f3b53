//! What a motion sensor says: accelerations and turning rates, and the attitude that follows from the turning.

export type Vector = [x: number, y: number, z: number];
/** A rotation: w, x, y, z. */
export type Turn = [w: number, x: number, y: number, z: number];
export type Sample = { at: number; acceleration?: Vector; gyro?: Vector };
export type Track = {
  samples: Sample[];
  turn: Turn;
  /** When the turning was last known. */
  turned_at: number | undefined;
};

export const STILL: Turn = [1, 0, 0, 0];
/** How much of the past is drawn. */
export const SPAN_MS = 30_000;
const SAMPLES_MAX = 1_000;
/** A longer silence says nothing of how it turned meanwhile. */
const PAUSE_MAX_MS = 1_000;

/** What is in a value, `[{"type":"acc","values":[x,y,z]}]` as JSON or its text; null if it is none. */
export function sampleOf(value: unknown, at: number): Sample | null {
  const list = typeof value === 'string' ? parsed(value) : value;
  if (!Array.isArray(list)) return null;
  const vector = (type: string): Vector | undefined => {
    const found: unknown = list.find((item: unknown) => isPart(item) && item.type === type);
    const values = isPart(found) ? found.values : undefined;
    const isVector = Array.isArray(values) && values.length === 3 && values.every(Number.isFinite);
    return isVector ? (values as Vector) : undefined;
  };
  const [acceleration, gyro] = [vector('acc'), vector('gyro')];
  if (acceleration === undefined && gyro === undefined) return null;
  return { at, ...(acceleration ? { acceleration } : {}), ...(gyro ? { gyro } : {}) };
}

export function emptyTrack(): Track {
  return { samples: [], turn: STILL, turned_at: undefined };
}

/** A track with more samples, the oldest of which are forgotten. */
export function followed(track: Track, more: Sample[]): Track {
  let { turn, turned_at } = track;
  for (const { at, gyro } of more) {
    if (gyro === undefined) continue;
    const pause = turned_at === undefined ? 0 : at - turned_at;
    if (pause > 0 && pause <= PAUSE_MAX_MS) turn = turned(turn, gyro, pause / 1000);
    turned_at = Math.max(at, turned_at ?? at);
  }
  const samples = [...track.samples, ...more].sort((a, b) => a.at - b.at);
  const since = (samples.at(-1)?.at ?? 0) - SPAN_MS;
  return { samples: samples.filter(({ at }) => at >= since).slice(-SAMPLES_MAX), turn, turned_at };
}

/** The attitude after turning for some seconds, with rates in degrees per second around its own axes. */
export function turned([w, x, y, z]: Turn, gyro: Vector, seconds: number): Turn {
  const [a, b, c] = gyro.map((rate) => (rate * Math.PI) / 180) as Vector;
  const rate = Math.hypot(a, b, c);
  if (rate === 0) return [w, x, y, z];
  const half = (rate * seconds) / 2;
  const s = Math.sin(half) / rate;
  const [dw, dx, dy, dz]: Turn = [Math.cos(half), a * s, b * s, c * s];
  const turn: Turn = [
    w * dw - x * dx - y * dy - z * dz,
    w * dx + x * dw + y * dz - z * dy,
    w * dy - x * dz + y * dw + z * dx,
    w * dz + x * dy - y * dx + z * dw,
  ];
  const length = Math.hypot(...turn);
  return turn.map((part) => part / length) as Turn;
}

/** A rotation for CSS. The screen has y down and z towards the viewer; a sensor that lies flat has z up. */
export function cssOf([w, x, y, z]: Turn): string {
  // The sensor has x to the right, y into the screen and z up: the same rotation, seen in a mirrored frame.
  const [sx, sy, sz] = [-x, z, y];
  const m = [
    [1 - 2 * (sy * sy + sz * sz), 2 * (sx * sy - w * sz), 2 * (sx * sz + w * sy)],
    [2 * (sx * sy + w * sz), 1 - 2 * (sx * sx + sz * sz), 2 * (sy * sz - w * sx)],
    [2 * (sx * sz - w * sy), 2 * (sy * sz + w * sx), 1 - 2 * (sx * sx + sy * sy)],
  ];
  const column = (at: number): string => m.map((row) => (row[at] ?? 0).toFixed(5)).join(',');
  return `matrix3d(${column(0)},0,${column(1)},0,${column(2)},0,0,0,0,1)`;
}

export function norm(vector: Vector): number {
  return Math.hypot(...vector);
}

function isPart(item: unknown): item is { type: unknown; values: unknown } {
  return typeof item === 'object' && item !== null && 'type' in item && 'values' in item;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
