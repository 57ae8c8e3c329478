/**
 * README's table of figures is what the committed result files say: each cell is made again from the file that its row
 * names, in the README's words. A row that nothing here can make is a failure, too.
 */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { pictureOf } from '../../bench/report/report.js';
import type { SavedPart } from '../../bench/suite/saved.js';
import { type Cell, cellOf } from '../support/readme-figures.js';

const ROOT = new URL('../../../', import.meta.url);

function readText(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

interface FigureRow extends Cell {
  readonly what: string;
  readonly command: string;
  readonly file: string;
}

/** Rows between the marks, without the head of the table. */
function figureRows(readme: string): FigureRow[] {
  const block = /<!-- figures -->\n([\s\S]*?)<!-- \/figures -->/.exec(readme)?.[1];
  if (block === undefined)
    throw new Error('README.md has no table between <!-- figures --> and <!-- /figures -->');
  return block
    .trim()
    .split('\n')
    .slice(2)
    .map((line) => {
      const [what, figure, floor, command, link] = line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim());
      return {
        what: what!,
        figure: figure!,
        isMissed: floor!.includes('**missed**'),
        command: command!.replaceAll('`', ''),
        file: /\((bench\/results\/[^)]+\.json)\)/.exec(link!)?.[1] ?? '',
      };
    });
}

const rows = figureRows(readText('README.md'));

it('has rows', () => {
  expect(rows.length).toBeGreaterThan(10);
});

it.each(rows)('$what', ({ what, file, figure, isMissed }) => {
  expect(file, 'the row names its result file').not.toBe('');
  expect({ figure, isMissed }).toEqual(cellOf(what, JSON.parse(readText(file))));
});

it.each([...new Set(rows.map(({ command }) => command))])('there is a %s', (command) => {
  expect(readText('Makefile')).toContain(`\n${command.replace(/^make (\S+).*/, '$1')}: `);
});

it('has a picture that is drawn from the result that README names', () => {
  const named = /!\[[^\]]*\]\((docs\/images\/[^)]+)\)[\s\S]*?\((bench\/results\/[^)]+\.json)\)/.exec(
    readText('README.md'),
  );
  const [, picture, file] = named!;
  expect(pictureOf(JSON.parse(readText(file!)) as SavedPart[])).toBe(readText(picture!));
});
