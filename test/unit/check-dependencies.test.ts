import { describe, expect, test } from 'vitest';
import { checkDependencies } from '../../scripts/check-dependencies.js';

const MANIFEST = { dependencies: { pino: '1.0.0', '@scope/installed': '1.0.0' } };

function check(path: string, text: string): string[] {
  return checkDependencies([{ path, text }], MANIFEST);
}

describe('checkDependencies', () => {
  test.each([
    ['engine/a.ts', `import { b } from './b.js';`],
    ['engine/ring/a.ts', `import { b } from '../b.js';`],
    ['workers/a.ts', `import { b } from '../engine/b.js';`],
    ['workers/stores/a.ts', `import { b } from '../../engine/b.js';`],
    ['workers/a.ts', `import { b } from 'node:fs';`],
    ['workers/a.ts', `import { b } from 'pino';`],
    ['workers/a.ts', `import { b } from '@scope/installed/part';`],
    ['gateway/a.ts', `import { b } from '../workers/b.js';`],
    ['gateway/a.ts', `await import('../bench/replay.js');`],
    ['gateway/a.ts', `new URL('../../package.json', import.meta.url);`],
    ['bench/a.ts', `import { b } from '../gateway/client/index.js';`],
    ['bench/a.ts', `import { b } from '../scripts/cassandra/cluster.js';`],
    ['bench/a.ts', `import { b } from 'lru-cache';`],
    ['scripts/a.ts', `import { b } from '../engine/layout.js';`],
    ['scripts/a.ts', `await import('../bench/replay.js');`],
    ['test/unit/a.test.ts', `import { b } from '../../bench/b.js';`],
    ['docs/a.md', `import { b } from '../engine/b.js';`],
  ])('%s may say %s', (path, text) => {
    expect(check(path, text)).toEqual([]);
  });

  test.each([
    ['engine/a.ts', `import { b } from '../workers/b.js';`, 'engine/ may import only from engine/'],
    ['engine/a.ts', `import type { B } from '../gateway/b.js';`, 'engine/ may import only from engine/'],
    ['engine/a.ts', `export * from '../scripts/b.js';`, 'engine/ may import only from engine/'],
    ['engine/a.ts', `import { b } from '../enginex/b.js';`, 'engine/ may import only from engine/'],
    ['engine/a.ts', `import { b } from 'node:fs';`, 'engine/ is pure: it may import only its own files'],
    ['engine/a.ts', `import b from 'pino';`, 'engine/ is pure: it may import only its own files'],
    ['workers/a.ts', `await import('../gateway/b.js');`, 'workers/ may import only from workers/, engine/'],
    [
      'workers/stores/a.ts',
      `new URL('../../gateway/b.js', import.meta.url);`,
      'workers/ may import only from workers/, engine/',
    ],
    [
      'workers/a.ts',
      `import b from 'lru-cache';`,
      `workers/ runs at the user's, and lru-cache is not in "dependencies" of package.json`,
    ],
    [
      'gateway/a.ts',
      `import b from '@scope/other/part';`,
      `gateway/ runs at the user's, and @scope/other is not in "dependencies" of package.json`,
    ],
    ['gateway/a.ts', `import b from '../bench/b.js';`, 'gateway/ may load bench/ only lazily, with import()'],
    ['scripts/a.ts', `import b from '../bench/b.js';`, 'scripts/ may load bench/ only lazily, with import()'],
    [
      'gateway/a.ts',
      `await import('../test/b.js');`,
      'gateway/ may import only from gateway/, engine/, workers/',
    ],
    [
      'bench/a.ts',
      `import b from '../gateway/main.js';`,
      'bench/ may load gateway/ only lazily, with import()',
    ],
    [
      'bench/a.ts',
      `import b from '../test/b.js';`,
      'bench/ may import only from bench/, engine/, workers/, gateway/client/, scripts/cassandra/',
    ],
  ])('%s must not say %s', (path, text, rule) => {
    const specifier = /'([^']+)'/.exec(text)![1];
    expect(check(path, `\n${text}`)).toEqual([`${path}:2 imports '${specifier}': ${rule}`]);
  });
});
