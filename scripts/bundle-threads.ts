/**
 * Makes one file of the modules of each thread of the service: dist/workers/shard-thread.cjs of shard-thread.js and the 80 that it
 * imports.
 *
 * A thread is started when another has ended, and somebody waits for it; or while others serve, from whom it takes the processor.
 * Finding and reading its modules one by one was two thirds of its start (docs/performance.md). CommonJS, since the loader of
 * the other kind takes 6 ms to begin with, and since Piscina asks for it first. The names stay: they are what a profile and a stack show.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { isMain, ROOT } from './repository.js';

const THREADS = ['shard-thread', 'persister-thread'];
/** Node's and what is installed: found by Node as ever. */
const ELSEWHERE = /^[^./]/;

/** @param dist  a build: a folder with engine/ and workers/ */
export async function bundleThreads(dist: string): Promise<void> {
  for (const thread of THREADS) await bundle(join(dist, 'workers'), thread);
}

async function bundle(folder: string, thread: string): Promise<void> {
  const bundled = await rolldown({
    input: join(folder, `${thread}.js`),
    platform: 'node',
    external: ELSEWHERE,
  });
  const { output } = await bundled.generate({
    format: 'cjs',
    strict: true,
    comments: false,
    codeSplitting: false,
    dynamicImportInCjs: false,
  });
  await bundled.close();
  const file = join(folder, `${thread}.cjs`);
  // A thread that is started meanwhile has the one or the other.
  writeFileSync(`${file}.new`, output[0].code);
  renameSync(`${file}.new`, file);
}

if (isMain(import.meta.url)) await bundleThreads(join(ROOT, 'dist'));
