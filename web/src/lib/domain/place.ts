//! Positions on the earth, and a plain map of them: a grid of latitudes and longitudes, drawn without anybody's tiles.

export type Place = { lat: number; lng: number };
/** The middle of a map, and how many degrees of latitude its height is. */
export type View = { lat: number; lng: number; height: number };
export type Size = { width: number; height: number };
export type Line = { at: number; text: string };
export type Marker<T> = { x: number; y: number; items: T[] };

/** A map shows at least this much: about a hundred metres. */
const HEIGHT_MIN = 0.0009;
const HEIGHT_MAX = 160;
/** Room around the outermost positions. */
const MARGIN = 1.35;
/** Lines of the grid are at least so many pixels from each other. */
const LINE_PIXELS = 90;
/** Markers that are nearer than this many pixels are one. */
const NEAR = 26;
const METRES_PER_DEGREE = 111_320;

/** A position as JSON or its text; null if it is none on earth. */
export function placeOf(value: unknown): Place | null {
  const found = typeof value === 'string' ? parsed(value) : value;
  if (typeof found !== 'object' || found === null) return null;
  const { lat, lng } = found as Partial<Record<string, unknown>>;
  const [a, b] = [numberOf(lat), numberOf(lng)];
  return a === null || b === null || Math.abs(a) > 90 || Math.abs(b) > 180 ? null : { lat: a, lng: b };
}

/** «48.71478° N 2.20550° E» */
export function placeText({ lat, lng }: Place): string {
  const part = (value: number, sides: string): string =>
    `${Math.abs(value).toFixed(5)}° ${value < 0 ? sides[1] : sides[0]}`;
  return `${part(lat, 'NS')} ${part(lng, 'EW')}`;
}

/** The view that shows all. */
export function viewOf(places: Place[], size: Size): View {
  if (places.length === 0) return { lat: 20, lng: 0, height: 120 };
  const [south, north] = edges(places.map(({ lat }) => lat));
  const [west, east] = edges(places.map(({ lng }) => lng));
  const lat = (south + north) / 2;
  const wide = ((east - west) * squeeze(lat) * size.height) / Math.max(size.width, 1);
  return { lat, lng: (west + east) / 2, height: held(Math.max(north - south, wide) * MARGIN) };
}

/** Nearer with a factor below 1, further with one above. */
export function zoomed(view: View, factor: number): View {
  return { ...view, height: held(view.height * factor) };
}

/** Moved by pixels, as a hand moves the paper. */
export function moved(view: View, dx: number, dy: number, size: Size): View {
  const degrees = view.height / size.height;
  const lat = Math.max(-85, Math.min(85, view.lat + dy * degrees));
  const lng = Math.max(-180, Math.min(180, view.lng - (dx * degrees) / squeeze(view.lat)));
  return { ...view, lat, lng };
}

export function pixelOf({ lat, lng }: Place, view: View, size: Size): { x: number; y: number } {
  const pixels = size.height / view.height;
  return {
    x: size.width / 2 + (lng - view.lng) * squeeze(view.lat) * pixels,
    y: size.height / 2 - (lat - view.lat) * pixels,
  };
}

/** The grid: where its lines are in pixels, and what they say. */
export function gridOf(view: View, size: Size): { lats: Line[]; lngs: Line[] } {
  const pixels = size.height / view.height;
  const across = size.width / pixels / squeeze(view.lat);
  const step = stepOf(LINE_PIXELS / (pixels * squeeze(view.lat)));
  const lines = (middle: number, span: number, most: number): number[] => {
    const first = Math.ceil((middle - span / 2) / step);
    const last = Math.floor((middle + span / 2) / step);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => (first + index) * step).filter(
      (at) => Math.abs(at) <= most + step / 1000,
    );
  };
  const text = (at: number, sides: string): string => {
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return `${Math.abs(at).toFixed(digits)}°${Math.abs(at) < step / 1000 ? '' : ` ${at < 0 ? sides[1] : sides[0]}`}`;
  };
  return {
    lats: lines(view.lat, view.height, 90).map((lat) => ({
      at: pixelOf({ lat, lng: view.lng }, view, size).y,
      text: text(lat, 'NS'),
    })),
    lngs: lines(view.lng, across, 180).map((lng) => ({
      at: pixelOf({ lat: view.lat, lng }, view, size).x,
      text: text(lng, 'EW'),
    })),
  };
}

/** Markers in pixels; those that would cover each other are one with several items. */
export function markersOf<T extends { place: Place }>(items: T[], view: View, size: Size): Marker<T>[] {
  const markers: Marker<T>[] = [];
  for (const item of items) {
    const { x, y } = pixelOf(item.place, view, size);
    if (x < -NEAR || y < -NEAR || x > size.width + NEAR || y > size.height + NEAR) continue;
    const near = markers.find((marker) => Math.hypot(marker.x - x, marker.y - y) < NEAR);
    if (near === undefined) markers.push({ x, y, items: [item] });
    else near.items.push(item);
  }
  return markers;
}

/** How long a distance on the map is, for a bar of at most so many pixels. */
export function scaleOf(view: View, size: Size, most: number): { pixels: number; text: string } {
  const metres = (view.height * METRES_PER_DEGREE) / size.height;
  const length = [1, 2, 5, 10]
    .map((factor) => factor * 10 ** Math.floor(Math.log10(most * metres)))
    .filter((one) => one <= most * metres)
    .at(-1);
  const shown = length ?? most * metres;
  return { pixels: shown / metres, text: shown >= 1000 ? `${shown / 1000} km` : `${shown} m` };
}

/** A degree of longitude is that much of one of latitude. */
function squeeze(lat: number): number {
  return Math.max(0.1, Math.cos((lat * Math.PI) / 180));
}

function held(height: number): number {
  return Math.max(HEIGHT_MIN, Math.min(HEIGHT_MAX, height));
}

function edges(values: number[]): [number, number] {
  return values.reduce<[number, number]>(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );
}

/** The nearest of 1, 2, 5 times a power of ten. */
function stepOf(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
}

function numberOf(value: unknown): number | null {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
