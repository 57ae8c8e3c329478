/** The charts: which columns of the history are in which, and how they are drawn and read by keyboard. */
import type { AlignedData, Axis, Options, Scale, Series, default as UPlot } from 'uplot';
import { formatCount, formatMs, formatPart } from '../admin/format.js';
import { type AdminHistory, HISTORY_COLUMNS, type HistoryColumn } from '../admin/status-types.js';
import { byId, element, stroke } from './dom.js';

/** From the script that the page loads before this one. */
declare const uPlot: typeof UPlot;

const HEIGHT = 156;
const KEPT = 900;
/** Drawn in this order; told apart also without colours. */
const COLORS = ['--series-1', '--series-2', '--series-3'];
const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2]];
const AXIS_WIDTH = 52;
const AXIS_FONT = '11px system-ui, sans-serif';

type Format = (value: number) => string;

interface Line {
  readonly column: HistoryColumn;
  readonly name: string;
  /** If it differs from the chart's; it has an axis of its own then, to the right. */
  readonly format?: Format;
}

interface Chart {
  readonly title: string;
  readonly unit: string;
  readonly format: Format;
  readonly lines: readonly Line[];
  readonly scale?: 'log' | 'part';
}

const percent: Format = (value) => formatPart(value);

const CHARTS: readonly Chart[] = [
  {
    title: 'Operations',
    unit: 'per second',
    format: formatCount,
    lines: [
      { column: 'operations_per_s', name: 'answered' },
      { column: 'refused_per_s', name: 'refused' },
    ],
  },
  {
    title: 'Latency in service',
    unit: 'logarithmic',
    format: formatMs,
    scale: 'log',
    lines: [
      { column: 'p50_ms', name: 'p50' },
      { column: 'p99_ms', name: 'p99' },
      { column: 'p999_ms', name: 'p99.9' },
    ],
  },
  {
    title: 'Unsaved changes',
    unit: 'users, and age of the oldest',
    format: formatCount,
    lines: [
      { column: 'unsaved_users', name: 'users' },
      { column: 'oldest_unsaved_ms', name: 'oldest', format: formatMs },
    ],
  },
  {
    title: 'Garbage collection',
    unit: 'in each second',
    format: formatMs,
    lines: [
      { column: 'front_gc_ms', name: 'front' },
      { column: 'shard_gc_ms', name: 'worst shard' },
      { column: 'persister_gc_ms', name: 'persister' },
    ],
  },
  {
    title: 'Delays',
    unit: 'longest of each second',
    format: formatMs,
    lines: [
      { column: 'front_loop_delay_ms', name: 'front loop' },
      { column: 'shard_turn_ms', name: 'shard turn' },
      { column: 'persister_loop_delay_ms', name: 'persister loop' },
    ],
  },
  {
    title: 'Store',
    unit: 'per second',
    format: formatCount,
    lines: [
      { column: 'loads_per_s', name: 'loads' },
      { column: 'written_rows_per_s', name: 'rows written' },
    ],
  },
  {
    title: 'Hit ratio',
    unit: '',
    format: percent,
    scale: 'part',
    lines: [{ column: 'hit_ratio', name: 'answered from memory' }],
  },
  {
    title: 'Occupancy',
    unit: 'records in memory',
    format: formatCount,
    lines: [{ column: 'records', name: 'records' }],
  },
  {
    title: 'Pressure',
    unit: 'the fullest of each',
    format: percent,
    scale: 'part',
    lines: [
      { column: 'busiest_shard', name: 'shard busy' },
      { column: 'fullest_ring', name: 'ring filled' },
    ],
  },
];

function cssColor(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** One chart and its caption, which names the lines and their values at the cursor. */
class ChartView {
  readonly figure: HTMLElement;
  readonly plot: HTMLElement;
  #uplot: UPlot | null = null;
  #shown: AlignedData = [[]];
  #values: HTMLElement[] = [];
  #keys: HTMLElement;

  constructor(readonly chart: Chart) {
    this.plot = element('div', { class: 'plot' });
    this.#keys = element('span', { class: 'keys' });
    this.figure = element(
      'figure',
      { class: 'chart', tabindex: '0', 'aria-label': `${chart.title}: left and right arrows read values` },
      element(
        'figcaption',
        {},
        element(
          'span',
          { class: 'head' },
          element('span', { class: 'title' }, chart.title),
          element('span', { class: 'unit' }, chart.unit),
        ),
        this.#keys,
      ),
      this.plot,
    );
    this.figure.addEventListener('keydown', (event) => this.#key(event));
    this.figure.addEventListener('blur', () => this.#uplot?.setCursor({ left: -10, top: -10 }));
    new ResizeObserver(() => {
      const width = this.plot.clientWidth;
      if (width > 0) this.#uplot?.setSize({ width, height: HEIGHT });
    }).observe(this.plot);
  }

  /** Draws with the colours of the theme as it is now. */
  build(rangeS: () => number): void {
    this.#uplot?.destroy();
    const { chart } = this;
    const colors = chart.lines.map((_, i) => cssColor(COLORS[i]!));
    this.#values = chart.lines.map(() => element('output', {}, '-'));
    this.#keys.replaceChildren(
      ...chart.lines.map(({ name }, i) =>
        element('span', { class: 'key' }, stroke(colors[i]!, DASHES[i]!), name, this.#values[i]!),
      ),
    );
    const axis = (format: Format, scale: string, right: boolean): Axis => ({
      scale,
      side: right ? 1 : 3,
      size: AXIS_WIDTH,
      font: AXIS_FONT,
      stroke: cssColor('--muted'),
      grid: { show: !right, stroke: cssColor('--grid'), width: 1 },
      ticks: { show: false },
      gap: 4,
      space: 28,
      ...(chart.scale === 'log'
        ? { splits: (_: UPlot, __: number, min: number, max: number) => powers(min, max) }
        : {}),
      values: (_, splits) => splits.map((split) => (split === null ? '' : briefly(format(split)))),
    });
    const own = chart.lines.find(({ format }) => format !== undefined);
    const options: Options = {
      width: Math.max(100, this.plot.clientWidth),
      height: HEIGHT,
      padding: [8, own === undefined ? 10 : 0, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: 'tidemark' }, points: { size: 6 }, drag: { x: false, y: false }, y: false },
      scales: {
        x: {
          time: true,
          range: () => {
            const last = Date.now() / 1000;
            return [last - rangeS(), last];
          },
        },
        y: scaleOf(chart.scale),
        y2: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] },
      },
      series: [
        {},
        ...chart.lines.map(
          ({ name, format }, i): Series => ({
            label: name,
            scale: format === undefined ? 'y' : 'y2',
            stroke: colors[i]!,
            width: 1.75,
            dash: [...DASHES[i]!],
            points: { show: false },
          }),
        ),
      ],
      axes: [
        {
          font: AXIS_FONT,
          stroke: cssColor('--muted'),
          grid: { show: false },
          ticks: { stroke: cssColor('--line'), size: 4, width: 1 },
          size: 22,
          gap: 2,
          space: 70,
          values: (_, splits) => splits.map(formatTime),
        },
        axis(chart.format, 'y', false),
        ...(own === undefined ? [] : [axis(own.format!, 'y2', true)]),
      ],
      hooks: { setCursor: [() => this.#showValues()] },
    };
    this.#uplot = new uPlot(options, this.#shown, this.plot);
  }

  show(data: AlignedData): void {
    this.#shown = data;
    this.#uplot?.setData(data);
    this.#showValues();
  }

  /** The values under the cursor, or the latest. */
  #showValues(): void {
    const last = this.#shown[0].length - 1;
    const at = this.#uplot?.cursor.idx ?? last;
    this.chart.lines.forEach(({ format }, i) => {
      const value = this.#shown[i + 1]?.[Math.min(at, last)];
      this.#values[i]!.textContent =
        value === null || value === undefined ? '-' : (format ?? this.chart.format)(value);
    });
  }

  #key(event: KeyboardEvent): void {
    const u = this.#uplot;
    const step = event.key === 'ArrowLeft' ? -1 : event.key === 'ArrowRight' ? 1 : 0;
    if (u === null || step === 0) return;
    event.preventDefault();
    const last = this.#shown[0].length - 1;
    const at = Math.max(0, Math.min(last, (u.cursor.idx ?? last) + step));
    const left = u.valToPos(this.#shown[0][at]!, 'x');
    u.setCursor({ left, top: 10 });
  }
}

function scaleOf(kind: Chart['scale']): Scale {
  if (kind === 'part') return { range: () => [0, 1] };
  if (kind !== 'log') return { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] };
  return {
    distr: 3,
    range: (_, min, max) => {
      // From a tenth of a millisecond to ten, or further: whole powers of ten.
      const low = Math.floor(Math.log10(Math.max(1e-3, min ?? 0.1)));
      const high = Math.ceil(Math.log10(Math.max(1e-3, max ?? 1)));
      return [10 ** low, 10 ** Math.max(high, low + 1)];
    },
  };
}

/** The powers of ten from one to the other. */
function powers(min: number, max: number): number[] {
  const found: number[] = [];
  for (let power = Math.ceil(Math.log10(min) - 1e-9); 10 ** power <= max * 1.001; power++)
    found.push(10 ** power);
  return found;
}

/** At an axis: `40k`, not `40.0k`. */
function briefly(text: string): string {
  return text.replace(/\.0+(?=\D|$)/, '').replace(/(\.\d*[1-9])0+(?=\D|$)/, '$1');
}

function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const minute = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return date.getSeconds() === 0 ? minute : `${minute}:${two(date.getSeconds())}`;
}

export class Charts {
  readonly #views = CHARTS.map((chart) => new ChartView(chart));
  readonly #times: number[] = [];
  readonly #columns = Object.fromEntries(HISTORY_COLUMNS.map((name) => [name, []])) as unknown as Record<
    HistoryColumn,
    (number | null)[]
  >;
  #rangeS = 300;

  constructor() {
    byId('charts').append(...this.#views.map(({ figure }) => figure));
    this.#build();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#build());
  }

  #build(): void {
    for (const view of this.#views) view.build(() => this.#rangeS);
  }

  /** Milliseconds since 1970 of the latest that is known. */
  get lastMs(): number {
    return (this.#times.at(-1) ?? 0) * 1000;
  }

  set rangeS(seconds: number) {
    this.#rangeS = seconds;
    this.#show();
  }

  add(history: AdminHistory): void {
    history.time_ms.forEach((time) => {
      this.#times.push(time / 1000);
    });
    for (const name of HISTORY_COLUMNS) {
      this.#columns[name].push(...history.columns[name]);
      this.#columns[name].splice(0, this.#columns[name].length - KEPT);
    }
    this.#times.splice(0, this.#times.length - KEPT);
    this.#show();
  }

  /** A server that was started anew: what is known is of another one. */
  clear(): void {
    this.#times.length = 0;
    for (const name of HISTORY_COLUMNS) this.#columns[name].length = 0;
  }

  #show(): void {
    for (const view of this.#views)
      view.show([this.#times, ...view.chart.lines.map(({ column }) => this.#columns[column])]);
  }
}
