/** What of a journal counts, in two lines of a fixed length. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LIVE_NAME, LiveFile, readLive } from '../../workers/journal/live-file.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-live-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function written(...all: Parameters<LiveFile['write']>[0][]) {
  const file = await LiveFile.open(directory, false);
  for (const live of all) await file.write(live);
  await file.close();
  return readLive(directory);
}

it('comes back, the newest, whatever letters the name of the store has', async () => {
  const store = { identity: 5, name: 'lmdb:/srv/Größe/データ/store' };
  const live = { oldestEpoch: 7, runs: [{ epoch: 3, shards: 4 }], store };
  expect(await written({ oldestEpoch: 6, runs: [] }, live)).toMatchObject(live);
});

it('of more than a line has room for, keeps the last runs, and the beginning of the name', async () => {
  const runs = Array.from({ length: 300 }, (_, i) => ({ epoch: 1_000_000_000 + i, shards: 256 }));
  const store = { identity: 2 ** 48, name: 'データ'.repeat(1000) };
  const live = { oldestEpoch: 1_000_000_000, runs, store };
  const found = (await written(live, live))!;
  expect(found.oldestEpoch).toBe(live.oldestEpoch);
  expect(found.store!.identity).toBe(store.identity);
  expect(store.name.startsWith(found.store!.name)).toBe(true);
  expect(found.runs.length).toBeGreaterThan(50);
  expect(found.runs).toEqual(runs.slice(-found.runs.length));
  expect(statSync(join(directory, LIVE_NAME)).size).toBe(8192);
});
