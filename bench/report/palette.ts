/** Colours of charts and page, in light and dark; what the names mean is the same in all charts. */

/** Ours, the same in objects, and the others. */
export const SLAB = 'c0';
export const HEAP = 'c1';
/** The bare echo. */
export const FLOOR = 'c7';
/** By language of a peer. */
export const LANGUAGE_COLOURS = { node: 'c2', go: 'c3', rust: 'c4' } as const;

const LIGHT = ['#0b7a75', '#d1495b', '#7a6c9d', '#2f7fc1', '#b9770e', '#3d8b40', '#a0458f', '#8a8f98'];
const DARK = ['#3fd0c5', '#ff7b8a', '#b5a6e0', '#6db7f2', '#f0b24a', '#79cf7c', '#e287d1', '#9aa3af'];

function colours(list: readonly string[]): string {
  return list.map((colour, i) => `--c${i}:${colour}`).join(';');
}

const LIGHT_PAGE = `${colours(LIGHT)};--ink:#1b2430;--soft:#5c6775;--grid:#e3e7ec;--axis:#a8b0bb;--paper:#ffffff;--panel:#f6f8fa`;
const DARK_PAGE = `${colours(DARK)};--ink:#e6eaf0;--soft:#9fabb9;--grid:#2a323d;--axis:#5d6876;--paper:#11161d;--panel:#1a212b`;

/** @param root  what carries the variables: the page, or an image of its own */
export function chartStyle(root: string): string {
  const classes = LIGHT.map(
    (_, i) => `.line.c${i},.bars.c${i}{stroke:var(--c${i})}rect.c${i},.dot.c${i}{fill:var(--c${i})}`,
  );
  return [
    `${root}{${LIGHT_PAGE}}`,
    `@media (prefers-color-scheme:dark){${root}{${DARK_PAGE}}}`,
    'svg text{font:12px system-ui,sans-serif;fill:var(--ink)}',
    'svg .title{font-weight:600;font-size:14px}',
    'svg .tick{fill:var(--soft);font-size:11px}',
    'svg .end{text-anchor:end}svg .middle{text-anchor:middle}',
    '.grid{stroke:var(--grid)}.axis{stroke:var(--axis)}.spread{stroke:var(--ink);stroke-width:1.5}',
    '.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.dashed{stroke-dasharray:5 4}',
    '.bars{fill:none;stroke-width:2}.dot{stroke:var(--paper)}',
    ...classes,
  ].join('\n');
}

/** A chart as a file of its own, on a ground of its own. */
export function standalone(svg: string): string {
  const style = `<style>${chartStyle('svg')}</style><rect width="100%" height="100%" fill="var(--paper)"/>`;
  return `${svg.replace(/<svg [^>]*>/, (open) => `${open}\n${style}`)}\n`;
}
