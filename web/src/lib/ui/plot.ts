//! Lines with bands over a window of time, on uPlot, with zoom by drag, wheel and pinch. Loaded only by pages that
//! show one. Plots with the same key share their cursor.
import UPlot from 'uplot';
import { clock, full } from '../domain/time';
import { numberText } from '../domain/points';
import type { Plot } from '../domain/history';

export type PlotHandle = {
  /** Draws lines within [from, to], both in milliseconds since 1970. */
  draw: (plot: Plot, from: number, to: number) => void;
  resize: (width: number, height: number) => void;
  destroy: () => void;
};

export type PlotOptions = {
  parent: HTMLElement;
  height: number;
  /** A CSS colour for each line. */
  colours: string[];
  unit: string;
  sync: string;
  /** The moment under the cursor and the values of the lines there. */
  onhover: (at: number | null, values: (number | null)[]) => void;
  onrange: (from: number, to: number) => void;
};

const HOUR_S = 3600;
const DAY_S = 86_400;
/** Fewer points than this would hardly be seen as a line, so each gets a dot. */
const POINTS_SHOWN_MAX = 40;
const WHEEL_STEP = 0.8;
const BAND_ALPHA = 0.22;
const EDGE_ALPHA = 0.5;
/** How wide a drag must be to be meant as a choice. */
const DRAG_PIXELS_MIN = 8;
const COLUMNS = 3;
const AXIS_PIXELS_MIN = 60;
/** Of the small letters at an axis. */
const LETTER_PIXELS = 6.6;

/** The colour a CSS colour has now, in the theme the element is shown in. */
function colourOf(element: HTMLElement, value: string): string {
  const probe = document.createElement('span');
  probe.style.color = value;
  element.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

export function openPlot(options: PlotOptions): PlotHandle {
  const { parent } = options;
  const grid = { stroke: colourOf(parent, 'var(--line)'), width: 1 };
  const font = `11px ${getComputedStyle(parent).fontFamily}`;
  const axis = { stroke: colourOf(parent, 'var(--text-3)'), font, grid, ticks: { show: false } };
  const colours = options.colours.map((colour) => colourOf(parent, colour));
  let span: [number, number] = [0, 1];
  const plot = new UPlot(
    {
      width: parent.clientWidth || 300,
      height: options.height,
      padding: [10, 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { setScale: false, x: true, y: false, dist: DRAG_PIXELS_MIN },
        points: { size: 7 },
        sync: { key: options.sync, setSeries: false },
      },
      scales: { x: { time: true, range: () => span } },
      axes: [
        { ...axis, space: 78, size: 30, values: (_plot, splits) => splits.map((at) => tick(at, span)) },
        {
          ...axis,
          size: (_plot, values) => axisWidth(values),
          space: 34,
          values: (_plot, splits) =>
            splits.map((at, index) => valueTick(at, index === splits.length - 1, options.unit)),
        },
      ],
      series: [{}, ...colours.flatMap(linesOf)],
      bands: colours.map((colour, index) => ({
        series: [index * COLUMNS + 3, index * COLUMNS + 1] as [number, number],
        fill: faint(colour, BAND_ALPHA),
      })),
      hooks: {
        setCursor: [(self) => hover(self, colours.length, options.onhover)],
        setSelect: [(self) => select(self, options.onrange)],
      },
    },
    [[], ...colours.flatMap(() => [[], [], []])],
    parent,
  );
  const stop = listenToZoom(plot, () => span, options.onrange);
  return {
    draw: (drawn, from, to) => {
      span = [from / 1000, to / 1000];
      plot.setData([drawn.times, ...drawn.columns] as UPlot.AlignedData);
    },
    resize: (width, height) => plot.setSize({ width, height }),
    destroy: () => {
      stop();
      plot.destroy();
    },
  };
}

function linesOf(colour: string): UPlot.Series[] {
  const edge: UPlot.Series = {
    stroke: faint(colour, EDGE_ALPHA),
    width: 0.75,
    points: { show: false },
    spanGaps: false,
  };
  const line: UPlot.Series = {
    stroke: colour,
    width: 1.6,
    spanGaps: false,
    points: { size: 5, fill: colour, show: (self) => self.data[0].length < POINTS_SHOWN_MAX },
  };
  return [edge, line, edge];
}

function faint(colour: string, alpha: number): string {
  return `color-mix(in srgb, ${colour} ${alpha * 100}%, transparent)`;
}

function hover(plot: UPlot, lines: number, tell: PlotOptions['onhover']): void {
  const index = plot.cursor.idx;
  const time = index === null || index === undefined ? undefined : plot.data[0][index];
  if (index === null || index === undefined || time === undefined) return tell(null, []);
  const values = Array.from({ length: lines }, (_, line) => nearest(plot.data[line * COLUMNS + 2], index));
  tell(time * 1000, values);
}

/** Lines have their points at different times: the nearest one before or at the cursor. */
function nearest(column: ArrayLike<number | null | undefined> | undefined, index: number): number | null {
  for (let at = index; at >= 0 && at > index - 50; at -= 1) {
    const value = column?.[at];
    if (value === null) return null;
    if (value !== undefined) return value;
  }
  return null;
}

function select(plot: UPlot, choose: PlotOptions['onrange']): void {
  const { left, width } = plot.select;
  if (width < DRAG_PIXELS_MIN) return;
  choose(plot.posToVal(left, 'x') * 1000, plot.posToVal(left + width, 'x') * 1000);
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

/** The wheel with Ctrl or alone over the plot, and two fingers. */
function listenToZoom(
  plot: UPlot,
  spanOf: () => [number, number],
  choose: PlotOptions['onrange'],
): () => void {
  const over = plot.over;
  const at = (clientX: number): number => {
    const box = over.getBoundingClientRect();
    const [from, to] = spanOf();
    return from + ((clientX - box.left) / box.width) * (to - from);
  };
  const zoom = (middle: number, factor: number, shift = 0): void => {
    const [from, to] = spanOf();
    choose(
      (middle - (middle - from) * factor + shift) * 1000,
      (middle + (to - middle) * factor + shift) * 1000,
    );
  };
  const wheel = (event: WheelEvent): void => {
    if (event.deltaY === 0 || event.shiftKey) return;
    event.preventDefault();
    zoom(at(event.clientX), event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP);
  };
  let pinch: { span: [number, number]; left: number; right: number } | null = null;
  const fingers = (event: TouchEvent): [number, number] => {
    const all = [...event.touches].map((touch) => touch.clientX).sort((a, b) => a - b);
    return [all[0] ?? 0, all.at(-1) ?? 1];
  };
  const begin = (event: TouchEvent): void => {
    if (event.touches.length !== 2) return;
    const [left, right] = fingers(event);
    pinch = { span: spanOf(), left, right };
  };
  const move = (event: TouchEvent): void => {
    if (pinch === null || event.touches.length !== 2) return;
    event.preventDefault();
    const box = over.getBoundingClientRect();
    const [left, right] = fingers(event);
    const [from, to] = pinch.span;
    const timeAt = (x: number): number => from + ((x - box.left) / box.width) * (to - from);
    const factor = Math.max(0.02, (pinch.right - pinch.left) / Math.max(right - left, 10));
    const anchor = timeAt((pinch.left + pinch.right) / 2);
    const place = ((left + right) / 2 - box.left) / box.width;
    const length = (to - from) * factor;
    choose((anchor - place * length) * 1000, (anchor + (1 - place) * length) * 1000);
  };
  const end = (): void => void (pinch = null);
  over.addEventListener('wheel', wheel, { passive: false });
  over.addEventListener('touchstart', begin, { passive: true });
  over.addEventListener('touchmove', move, { passive: false });
  over.addEventListener('touchend', end);
  return () => {
    over.removeEventListener('wheel', wheel);
    over.removeEventListener('touchstart', begin);
    over.removeEventListener('touchmove', move);
    over.removeEventListener('touchend', end);
  };
}

function tick(at: number, span: [number, number]): string {
  const length = span[1] - span[0];
  if (length > 300 * DAY_S) return full(at * 1000).slice(0, 7);
  if (length > 3 * DAY_S) return full(at * 1000).slice(5, 10);
  if (length > DAY_S) return full(at * 1000).slice(5, 16);
  const text = clock(at * 1000);
  return length > HOUR_S / 3 ? text.slice(0, 5) : text;
}

/** As wide as its longest label needs. */
function axisWidth(labels: string[] | null): number {
  const longest = Math.max(0, ...(labels ?? []).map((label) => label.length));
  return Math.max(AXIS_PIXELS_MIN, longest * LETTER_PIXELS + 12);
}

function valueTick(value: number, isTop: boolean, unit: string): string {
  const text = numberText(value);
  return isTop && unit !== '' ? `${text} ${unit}` : text;
}
