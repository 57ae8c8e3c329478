import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pruneDist } from '../../scripts/prune-dist.js';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tidemark-prune-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), '');
}

test('removes what has no source, and nothing else', () => {
  const kept = [
    'dist/engine/a.js',
    'dist/engine/a.js.map',
    'dist/engine/a.cjs',
    'dist/engine/a.d.ts',
    'dist/gateway/page.html',
  ];
  const gone = ['engine/b.js', 'engine/b.js.map', 'engine/b.cjs', 'engine/b.d.ts', 'test/unit/b.test.js'];
  for (const path of ['engine/a.ts', ...kept, ...gone.map((path) => `dist/${path}`)]) write(path);

  expect(pruneDist(root).sort()).toEqual([...gone].sort());

  for (const path of kept) expect(existsSync(join(root, path)), path).toBe(true);
  for (const path of gone) expect(existsSync(join(root, 'dist', path)), path).toBe(false);
});
