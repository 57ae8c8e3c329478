import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bundleThreads } from '../../scripts/bundle-threads.js';

let dist: string;
beforeEach(() => {
  dist = mkdtempSync(join(tmpdir(), 'tidemark-bundle-'));
  writeFileSync(join(dist, 'package.json'), '{"type":"module"}');
  for (const folder of ['engine', 'workers']) mkdirSync(join(dist, folder));
  write('engine/twice.js', 'export function twice(n) { return 2 * n; }');
  write('workers/persister-thread.js', 'export default () => {};');
});
afterEach(() => rmSync(dist, { recursive: true }));

function write(file: string, text: string): void {
  writeFileSync(join(dist, file), text);
}

const load = createRequire(import.meta.url);

test('one file has what a thread imports, also late, and is as strict as modules are', async () => {
  write('workers/late.js', 'export const late = 20;');
  write(
    'workers/shard-thread.js',
    `import { twice } from '../engine/twice.js';
    function isStrict() { return this === undefined; }
    export default async (n) => [twice(n), (await import('./late.js')).late, typeof (await import('node:os')).EOL, isStrict()];`,
  );
  await bundleThreads(dist);
  rmSync(join(dist, 'engine'), { recursive: true });
  rmSync(join(dist, 'workers/late.js'));
  const thread = load(join(dist, 'workers/shard-thread.cjs')) as (n: number) => Promise<unknown[]>;
  expect(await thread(21)).toEqual([42, 20, 'string', true]);
  expect(
    readdirSync(join(dist, 'workers'))
      .filter((file) => file.includes('.cjs'))
      .sort(),
  ).toEqual(['persister-thread.cjs', 'shard-thread.cjs']);
});

test('a thread whose modules do not fit together has no file, and the one of before stays', async () => {
  const file = join(dist, 'workers/shard-thread.cjs');
  const broken = `import { thrice } from '../engine/twice.js'; export default () => thrice(1);`;
  write('workers/shard-thread.js', broken);
  await expect(bundleThreads(dist)).rejects.toThrow('thrice');
  expect(existsSync(file)).toBe(false);
  write('workers/shard-thread.js', 'export default () => "before";');
  await bundleThreads(dist);
  write('workers/shard-thread.js', broken);
  await expect(bundleThreads(dist)).rejects.toThrow('thrice');
  expect((load(file) as () => string)()).toBe('before');
});
