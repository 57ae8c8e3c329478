/**
 * Charts as SVG text: nothing is drawn in a browser, so the report needs no script and a chart is a file of its own as
 * well. Colours are classes (`palette.ts`), so that one chart is right in light and dark.
 */

export interface Axis {
  readonly label: string;
  readonly scale: 'linear' | 'log';
  readonly min: number;
  readonly max: number;
  readonly ticks?: readonly number[];
  readonly format?: (value: number) => string;
}

export interface Series {
  readonly name: string;
  /** Class of the palette: `c0` to `c7`. */
  readonly colour: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
  /** Dots, for points that are measurements of their own. */
  readonly dots?: boolean;
  /** From the axis up, for amounts. */
  readonly bars?: boolean;
}

export interface LineChart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  readonly width?: number;
  readonly height?: number;
  /** No names of series: another chart beside it has them. */
  readonly bare?: boolean;
}

const [LEFT, RIGHT, TOP, BOTTOM] = [58, 16, 46, 42];

export function escapeText(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

function position({ scale, min, max }: Axis, value: number): number {
  if (scale === 'linear') return (value - min) / (max - min || 1);
  const low = Math.log(min);
  return (Math.log(Math.max(value, min)) - low) / (Math.log(max) - low || 1);
}

function ticksOf({ ticks, scale, min, max }: Axis): number[] {
  if (ticks !== undefined) return ticks.filter((tick) => tick >= min && tick <= max);
  const found: number[] = [];
  if (scale === 'log') {
    for (let power = Math.floor(Math.log10(min)); 10 ** power <= max * 1.001; power++) {
      if (10 ** power >= min * 0.999) found.push(10 ** power);
    }
    return found;
  }
  const rough = (max - min) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  for (let tick = Math.ceil(min / step) * step; tick <= max + step / 1000; tick += step) found.push(tick);
  return found;
}

export function shortNumber(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))} k`;
  return String(Number(value.toPrecision(3)));
}

/** Limits of a logarithmic axis around values, at whole powers of ten. */
export function decades(values: readonly number[]): { min: number; max: number } {
  const above = values.filter((value) => value > 0);
  if (above.length === 0) return { min: 0.1, max: 1 };
  const min = 10 ** Math.floor(Math.log10(Math.min(...above)));
  return { min, max: Math.max(min * 10, 10 ** Math.ceil(Math.log10(Math.max(...above)))) };
}

export function lineChart(chart: LineChart): string {
  const { width = 720, height = 300, x, y } = chart;
  const plot = { width: width - LEFT - RIGHT, height: height - TOP - BOTTOM };
  const atX = (value: number): number => LEFT + position(x, value) * plot.width;
  const atY = (value: number): number => TOP + (1 - position(y, value)) * plot.height;
  const parts: string[] = [text(LEFT - 44, 16, chart.title, 'title')];
  for (const tick of ticksOf(y)) {
    const at = fixed(atY(tick));
    parts.push(`<line class="grid" x1="${LEFT}" x2="${width - RIGHT}" y1="${at}" y2="${at}"/>`);
    parts.push(text(LEFT - 7, atY(tick) + 4, (y.format ?? shortNumber)(tick), 'tick end'));
  }
  for (const tick of ticksOf(x)) {
    parts.push(text(atX(tick), height - BOTTOM + 16, (x.format ?? shortNumber)(tick), 'tick middle'));
  }
  parts.push(
    `<line class="axis" x1="${LEFT}" x2="${width - RIGHT}" y1="${TOP + plot.height}" y2="${TOP + plot.height}"/>`,
  );
  parts.push(text(width - RIGHT, height - 6, x.label, 'tick end'));
  parts.push(text(LEFT - 44, TOP - 8, y.label, 'tick'));
  if (chart.bare !== true) parts.push(legend(chart.series, width));
  for (const series of chart.series) parts.push(drawSeries(series, atX, atY, TOP + plot.height));
  return frame(width, height, chart.title, parts.join('\n'));
}

function legend(series: readonly Series[], width: number): string {
  const parts: string[] = [];
  let right = width - RIGHT;
  for (const { name, colour, dashed } of [...series].reverse()) {
    right -= name.length * 6.3;
    parts.push(text(right, TOP - 8, name, 'name'));
    const dash = dashed === true ? ' dashed' : '';
    parts.push(
      `<line class="line ${colour}${dash}" x1="${right - 22}" x2="${right - 6}" y1="${TOP - 12}" y2="${TOP - 12}"/>`,
    );
    right -= 38;
  }
  return parts.join('\n');
}

function drawSeries(
  { name, colour, points, dashed, dots, bars }: Series,
  atX: (value: number) => number,
  atY: (value: number) => number,
  bottom: number,
): string {
  if (bars === true) {
    const drawn = points.filter(([, value]) => value > 0);
    const steps = drawn.map(([x, value]) => `M${fixed(atX(x))} ${bottom}V${fixed(atY(value))}`);
    return `<path class="bars ${colour}" d="${steps.join('')}"/>`;
  }
  const path = points
    .map(([x, value], i) => `${i === 0 ? 'M' : 'L'}${fixed(atX(x))} ${fixed(atY(value))}`)
    .join('');
  const line = `<path class="line ${colour}${dashed === true ? ' dashed' : ''}" d="${path}"/>`;
  if (dots !== true) return line;
  const marks = points.map(
    ([x, value]) =>
      `<circle class="dot ${colour}" cx="${fixed(atX(x))}" cy="${fixed(atY(value))}" r="3.5"><title>${escapeText(`${name}: ${shortNumber(value)}`)}</title></circle>`,
  );
  return line + marks.join('');
}

export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly colour: string;
  readonly note: string;
}

/** Horizontal bars from 0, each with its spread. */
export function barChart(title: string, unit: string, bars: readonly Bar[], width = 720): string {
  const [row, left, right, top] = [26, 150, 210, 40];
  const height = top + bars.length * row + 8;
  const most = Math.max(...bars.map(({ high }) => high));
  const at = (value: number): number => left + (value / most) * (width - left - right);
  const parts = [text(14, 16, title, 'title'), text(14, 32, unit, 'tick')];
  bars.forEach(({ name, value, low, high, colour, note }, i) => {
    const y = top + i * row;
    parts.push(text(left - 8, y + 14, name, 'name end'));
    parts.push(
      `<rect class="${colour}" x="${left}" y="${y + 2}" width="${fixed(at(value) - left)}" height="${row - 9}" rx="2"/>`,
    );
    parts.push(
      `<line class="spread" x1="${fixed(at(low))}" x2="${fixed(at(high))}" y1="${y + 10.5}" y2="${y + 10.5}"/>`,
    );
    parts.push(text(at(high) + 8, y + 14, note, 'tick'));
  });
  return frame(width, height, title, parts.join('\n'));
}

/** Charts one below the other, as one image. */
export function stack(title: string, charts: readonly string[]): string {
  const sizes = charts.map(
    (chart) => /viewBox="0 0 (\d+) (\d+)"/.exec(chart)!.slice(1).map(Number) as [number, number],
  );
  let y = 0;
  const placed = charts.map((chart, i) => {
    const [width, height] = sizes[i]!;
    const inner = chart.replace(
      /<svg [^>]*>/,
      `<svg x="0" y="${y}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    );
    y += height;
    return inner;
  });
  return frame(Math.max(...sizes.map(([width]) => width)), y, title, placed.join('\n'));
}

function frame(width: number, height: number, title: string, content: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(title)}">\n${content}\n</svg>`;
}

function text(x: number, y: number, content: string, classes: string): string {
  return `<text class="${classes}" x="${fixed(x)}" y="${fixed(y)}">${escapeText(content)}</text>`;
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10);
}
