import { describe, expect, test } from 'vitest';
import { checkStyle } from '../../scripts/check-style.js';
import type { RepositoryFile } from '../../scripts/repository.js';

const GOOD: RepositoryFile[] = [
  'LICENSE',
  'Makefile',
  'README.md',
  'package-lock.json',
  'package.json',
  'tsconfig.json',
  '.gitignore',
  '.ci/run',
  'docs/layout.md',
  'engine/read-state.ts',
  'workers/shard-thread.ts',
  'gateway/main.ts',
  'bench/bench-engine.ts',
  'scripts/tidemark',
  'test/unit/ring.test.ts',
].map((path) => ({ path, text: '' }));

function check(...files: Array<[path: string, text: string]>): string[] {
  return checkStyle([...GOOD, ...files.map(([path, text]) => ({ path, text }))]);
}

describe('checkStyle', () => {
  test('has nothing to say about a tree in order', () => {
    expect(checkStyle(GOOD)).toEqual([]);
  });

  test('wants exactly the known names at the top', () => {
    expect(check(['src/a.ts', ''], ['biome.json', ''])).toEqual([
      expect.stringMatching(/^src: does not belong at the top of the repository/),
      expect.stringMatching(/^biome\.json: does not belong/),
    ]);
    expect(checkStyle(GOOD.filter(({ path }) => !path.startsWith('bench/')))).toEqual([
      'bench: is missing at the top of the repository',
    ]);
  });

  test.each([
    'engine/readState.ts',
    'engine/Ring.ts',
    'engine/read_state.ts',
    'engine/Ring/a.ts',
    'docs/README2.md',
  ])('finds that %s is not kebab-case', (path) => {
    expect(check([path, ''])).toEqual([expect.stringMatching(`^${path}: .* is not kebab-case$`)]);
  });

  test('counts 500 lines as few enough and 501 as too many', () => {
    expect(check(['engine/long.ts', 'a;\n'.repeat(500)])).toEqual([]);
    expect(check(['engine/long.ts', 'a;\n'.repeat(501)])).toEqual([
      'engine/long.ts: 501 lines, and 500 are the most: one idea a file',
    ]);
    expect(check(['docs/long.md', 'a\n'.repeat(501)])).toEqual([]);
  });

  test.each([['TO', 'DO'].join(''), ['FIX', 'ME'].join('')])('finds %s', (word) => {
    expect(check(['docs/a.md', `a\nb ${word}: c\n`])).toEqual([
      `docs/a.md:2 says ${word}: do it, or open an issue and leave the word out`,
    ]);
    expect(check(['docs/a.md', `a${word}b\n`])).toEqual([]);
  });

  test('finds numbers in the template of what is broken', () => {
    const call = (argument: string): string => `broken(${argument});\n`;
    expect(check(['engine/a.ts', call('`slot $' + '{slot}`')])).toEqual([
      'engine/a.ts: broken() with a template: give it the number as its second argument',
    ]);
    expect(check(['engine/a.ts', call("'a slot', slot")])).toEqual([]);
  });

  test('finds imports and worker files that do not exist', () => {
    const text = [
      `import { a } from './read-state.js';`,
      `import { b } from './gone.js';`,
      `new URL('../workers/shard-thread.js', import.meta.url);`,
      `new URL('../workers/gone-thread.js', import.meta.url);`,
      `new URL('../../package.json', import.meta.url);`,
    ].join('\n');
    expect(check(['engine/a.ts', text])).toEqual([
      `engine/a.ts:2 refers to './gone.js', and there is no such file`,
      `engine/a.ts:4 refers to '../workers/gone-thread.js', and there is no such file`,
    ]);
  });

  test.each(['// const a = 1;', '// if (a) {', '// return a;', '// send(a);', '/*\n * ring.send(a);\n */'])(
    'finds commented-out code: %s',
    (comment) => {
      expect(check(['engine/a.ts', `a;\n${comment}\n`])).toEqual([
        expect.stringMatching(/^engine\/a\.ts:[23] is commented-out code/),
      ]);
    },
  );

  test.each([
    '// if it is empty, the probe ends',
    '// return what is there; the rest follows',
    '/** `send(a);`\n * send(a);\n */',
    `const a = '// return a;';`,
  ])('takes prose, docstrings and strings for what they are: %s', (text) => {
    expect(check(['engine/a.ts', text])).toEqual([]);
  });
});
