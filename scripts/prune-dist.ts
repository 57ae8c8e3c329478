/**
 * Removes from dist/ what was compiled from a file that is gone, so that no deleted test runs again.
 * tsc never deletes; emptying dist/ before each build would pull it from under a running server.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isMain, ROOT } from './repository.js';

/** @returns the removed files, relative to the dist folder. */
export function pruneDist(root: string): string[] {
  const dist = join(root, 'dist');
  const removed: string[] = [];
  for (const entry of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    const source = entry.replace(/(\.d\.ts|\.c?js|\.js\.map)$/, '');
    if (source === entry || existsSync(join(root, `${source}.ts`)) || existsSync(join(root, `${source}.js`)))
      continue;
    rmSync(join(dist, entry));
    removed.push(entry);
  }
  return removed;
}

if (isMain(import.meta.url)) pruneDist(ROOT);
