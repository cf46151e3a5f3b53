//! A chart of one metric over time, on uPlot. Loaded only by pages that show one.
import UPlot from 'uplot';
import { clock, full } from '../domain/time';
import { numberText, type Series } from '../domain/points';

export type ChartHandle = {
  /** Draws the series within [from, to], both in milliseconds since 1970. */
  draw: (series: Series, from: number, to: number) => void;
  resize: (width: number) => void;
  destroy: () => void;
};

type Options = { parent: HTMLElement; height: number; onhover: (text: string | null) => void };

const HOUR_S = 3600;
/** Fewer points than this would hardly be seen as a line, so each gets a dot. */
const POINTS_SHOWN_MAX = 8;

/** The colour a CSS variable has now, in the theme the element is shown in. */
function colourOf(element: HTMLElement, name: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  element.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

export function openChart(options: Options): ChartHandle {
  const parent = options.parent;
  const line = colourOf(parent, '--accent');
  const grid = { stroke: colourOf(parent, '--line'), width: 1 };
  const text = colourOf(parent, '--text-3');
  const font = `11px ${getComputedStyle(parent).fontFamily}`;
  const axis = { stroke: text, font, grid, ticks: { show: false } };
  let span: [number, number] = [0, 1];
  const plot = new UPlot(
    {
      width: parent.clientWidth || 300,
      height: options.height,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { setScale: false, x: false, y: false },
        points: { size: 7, fill: line, stroke: line },
      },
      scales: { x: { time: true, range: () => span } },
      axes: [
        { ...axis, space: 70, size: 28, values: (_plot, splits) => splits.map((at) => tick(at, span)) },
        { ...axis, size: 52, space: 34, values: (_plot, splits) => splits.map(numberText) },
      ],
      series: [
        {},
        {
          stroke: line,
          width: 1.6,
          fill: softOf(parent),
          spanGaps: false,
          points: { size: 5, fill: line, show: (self) => self.data[0].length < POINTS_SHOWN_MAX },
        },
      ],
      hooks: { setCursor: [(self) => options.onhover(hoverText(self))] },
    },
    [[], []],
    parent,
  );
  return {
    draw: (series, from, to) => {
      span = [from / 1000, to / 1000];
      plot.setData([series.times.map((time) => time / 1000), series.values]);
    },
    resize: (width) => plot.setSize({ width, height: options.height }),
    destroy: () => plot.destroy(),
  };
}

function softOf(parent: HTMLElement): string {
  return colourOf(parent, '--chart-fill');
}

function tick(at: number, span: [number, number]): string {
  const text = clock(at * 1000);
  if (span[1] - span[0] > 48 * HOUR_S) return full(at * 1000).slice(5, 10);
  return span[1] - span[0] > HOUR_S / 3 ? text.slice(0, 5) : text;
}

function hoverText(plot: UPlot): string | null {
  const index = plot.cursor.idx;
  if (index === null || index === undefined) return null;
  const value = plot.data[1]?.[index];
  const time = plot.data[0][index];
  return value === null || value === undefined || time === undefined
    ? null
    : `${numberText(value)} at ${full(time * 1000)}`;
}
