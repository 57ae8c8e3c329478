/** Elements without markup in strings: nothing that a server says is ever parsed as HTML. */

const SVG = 'http://www.w3.org/2000/svg';

export function byId<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as T;
}

export function element(
  name: string,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElement {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(name: string, attributes: Readonly<Record<string, string>>): SVGElement {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A bar filled to `part`. @param attributes  of the svg */
export function bar(part: number, attributes: Readonly<Record<string, string>>): SVGElement {
  const image = svg('svg', {
    viewBox: '0 0 100 10',
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
    ...attributes,
  });
  const width = String(Math.max(0, Math.min(1, part)) * 100);
  image.append(svg('rect', { x: '0', y: '0', width, height: '10' }));
  return image;
}

/** A small square in the colour of its class. */
export function swatch(): SVGElement {
  const image = svg('svg', { viewBox: '0 0 10 10', class: 'swatch', 'aria-hidden': 'true' });
  image.append(svg('rect', { width: '10', height: '10' }));
  return image;
}

/** A stroke as a chart draws it. */
export function stroke(color: string, dash: readonly number[]): SVGElement {
  const image = svg('svg', { viewBox: '0 0 18 8', 'aria-hidden': 'true' });
  image.append(
    svg('line', { x1: '0', y1: '4', x2: '18', y2: '4', stroke: color, 'stroke-dasharray': dash.join(' ') }),
  );
  return image;
}

export interface Column<T> {
  readonly name: string;
  /** A text, or what is shown; `null` is a dash. */
  readonly of: (row: T) => Node | string | null;
  /** `text`: to the left; `mono`: ids. */
  readonly className?: string;
}

/** Replaces what is in `place` by a table of the rows; its first column names each row. */
export function showTable<T>(
  place: HTMLElement,
  columns: readonly Column<T>[],
  rows: readonly T[],
  empty: string,
  classOf: (row: T) => string = () => '',
): void {
  if (rows.length === 0) {
    place.replaceChildren(element('p', { class: 'empty' }, empty));
    return;
  }
  const head = columns.map(({ name, className = '' }) =>
    element('th', { scope: 'col', class: className }, name),
  );
  const body = rows.map((row) =>
    element(
      'tr',
      { class: classOf(row) },
      ...columns.map(({ of, className = '' }, i) =>
        element(
          i === 0 ? 'th' : 'td',
          { ...(i === 0 ? { scope: 'row' } : {}), class: className },
          of(row) ?? '-',
        ),
      ),
    ),
  );
  place.replaceChildren(
    element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...body)),
  );
}
