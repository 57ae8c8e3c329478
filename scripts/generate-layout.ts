/**
 * Writes docs/layout.md from the layout tables of engine/ and workers/: offsets from the compiled modules, words from
 * the comments beside the fields, so that the page cannot say anything else than the code.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/** Modules with tables, in the order of the page. */
const MODULES = [
  'engine/layout',
  'engine/undo-log',
  'engine/slab-memory',
  'engine/mention-window',
  'engine/messages',
  'engine/ring',
  'engine/doorbell',
  'engine/lane-control',
  'workers/lane-memory',
  'workers/journal/format',
  'workers/journal/shared',
] as const;

interface Field {
  readonly name: string;
  readonly offset: number;
  readonly words: number;
  readonly comment: string;
}

/** The lines of the comment that ends right before `position`, without its signs. */
function docBefore(source: string, position: number): string {
  const before = source.slice(0, position).trimEnd();
  if (!before.endsWith('*/')) return '';
  const start = before.lastIndexOf('/**');
  return before
    .slice(start + 3, -2)
    .split('\n')
    .map((line) => line.trim().replace(/^\* ?/, ''))
    .join(' ')
    .trim();
}

/** Comment beside a field, in the text of one table. */
function commentOf(table: string, field: string): string {
  const match = new RegExp(`\\b${field}(?::[^/\\n]*?)?,?[^\\n]*?//\\s*(.*)`).exec(table);
  return match?.[1]?.trim() ?? '';
}

/** Fields of a table: an object of offsets with the total in WORDS. */
export function fieldsOf(offsets: Readonly<Record<string, number>>, text: string): Field[] {
  const names = Object.keys(offsets).filter((name) => name !== 'WORDS');
  return names.map((name, index) => {
    const offset = offsets[name]!;
    const next = names[index + 1];
    const end = next === undefined ? offsets.WORDS! : offsets[next]!;
    return { name, offset, words: end - offset, comment: commentOf(text, name) };
  });
}

/** One table as Markdown. */
export function renderTable(name: string, doc: string, fields: readonly Field[], words: number): string {
  const rows = fields.map(({ name: field, offset, words: width, comment }) => {
    return `| ${offset} | ${width} | \`${field}\` | ${comment.replaceAll('|', '\\|')} |`;
  });
  return [
    `### ${name}`,
    '',
    `${doc === '' ? '' : `${doc} `}${words} words (${words * 4} bytes).`,
    '',
    '| word | words | field | |',
    '|---:|---:|---|---|',
    ...rows,
    '',
  ].join('\n');
}

function isTable(value: unknown): value is Readonly<Record<string, number>> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { WORDS?: unknown }).WORDS === 'number'
  );
}

/** The whole page. @param root  URL of the repository, with a slash at its end */
export async function renderPage(root: URL): Promise<string> {
  const parts = [
    '# Layouts in memory and in messages',
    '',
    'Generated from the tables in the code by `make layout`. A word is 32 bits, little-endian; offsets and widths are in words.',
    '',
  ];
  for (const module of MODULES) {
    const source = await readFile(new URL(`${module}.ts`, root), 'utf8');
    const exports = (await import(new URL(`dist/${module}.js`, root).href)) as Record<string, unknown>;
    parts.push(`## \`${module}.ts\``, '');
    const found = [...source.matchAll(/export const (\w+) = layout\(/g)];
    for (const match of found) {
      const name = match[1]!;
      const table = exports[name];
      if (!isTable(table)) throw new Error(`${module}.ts: ${name} is not a layout`);
      const text = source.slice(match.index, source.indexOf(');', match.index));
      parts.push(renderTable(name, docBefore(source, match.index), fieldsOf(table, text), table.WORDS!));
    }
  }
  return `${parts.join('\n').trimEnd()}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = new URL('../../', import.meta.url);
  await writeFile(new URL('docs/layout.md', root), await renderPage(root));
}
