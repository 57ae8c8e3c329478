/** A persister that ends at any moment: what was answered stays, what waits for the store is asked for again. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { Random } from '../../bench/random.js';
import { LANE_STATS } from '../../workers/stats.js';
import { BUG_FILLS_HEAP, BUG_HANGS, BUG_THROWS, createFaults, FAULTS } from '../../workers/stores/memory.js';
import { SEED, Stage, violationsOf } from './stage.js';

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.end();
  stage = undefined;
});

/** Kills of the full run: TIDEMARK_KILLS. */
const KILLS = Number(process.env.TIDEMARK_KILLS ?? 8);

/** Users come and go, so that the store is asked and written to all the time. */
const SMALL = { shards: '2', lanes: '4', capacity: '1500', partitions: '4', loadTimeout: '20s' };

/** Operations that were answered so as they lacked the store. */
function storeUnavailable(): number {
  return stage!.workers.laneStats.reduce((sum, stats) => sum + stats[LANE_STATS.STORE_UNAVAILABLE]!, 0);
}

async function waitForReplacement(count: number): Promise<void> {
  await expect.poll(() => stage!.workers.replacedPersisters, { timeout: 20_000 }).toBe(count);
}

it.each([
  ['', {}],
  [', --engine heap', { engine: 'heap', lanes: '2' }],
])('loses nothing when the persister is killed, with LMDB%s', { timeout: 600_000 }, async (_name, serve) => {
  stage = await Stage.start({ serve: { ...SMALL, ...serve } });
  const { load, workers } = stage;
  const random = new Random(SEED);
  load.start();
  for (let kill = 1; kill <= KILLS && load.checker.violations.length === 0; kill++) {
    await sleep(50 + random.below(400));
    await workers.killPersister();
    if (kill % 3 === 0) await workers.killShard(random.below(2));
    await waitForReplacement(kill);
  }
  await sleep(200);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
  expect(load.checker.answeredCount).toBeGreaterThan(1000);
  expect(storeUnavailable()).toBe(0); // all that was under way is asked for again
  await stage.restart();
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
});

it('loses nothing when the persister is killed, with a store that fails', { timeout: 600_000 }, async () => {
  const storeFaults = createFaults();
  const faults = new Int32Array(storeFaults);
  faults[FAULTS.LOAD_DELAY_MS] = 2;
  faults[FAULTS.LOAD_ERROR_PERMILLE] = 20;
  faults[FAULTS.WRITE_DELAY_MS] = 5;
  faults[FAULTS.WRITE_ERROR_PERMILLE] = 50;
  stage = await Stage.start({ serve: { ...SMALL, store: 'memory:' }, storeFaults });
  const { load, workers } = stage;
  const random = new Random(SEED);
  load.start();
  for (let kill = 1; kill <= KILLS && load.checker.violations.length === 0; kill++) {
    await sleep(50 + random.below(400));
    await workers.killPersister();
    await waitForReplacement(kill);
  }
  await sleep(200);
  faults[FAULTS.LOAD_ERROR_PERMILLE] = 0;
  faults[FAULTS.WRITE_ERROR_PERMILLE] = 0;
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
  expect(load.checker.answeredCount).toBeGreaterThan(1000);
});

it.each([
  ['throws', BUG_THROWS, '60s', 'a write was told to throw'],
  ['hangs', BUG_HANGS, '1s', 'has done nothing for 1000 ms'],
  ['runs out of heap', BUG_FILLS_HEAP, '60s', 'reaching memory limit'],
])('is replaced when it %s', { timeout: 120_000 }, async (_how, bug, hangTimeout, text) => {
  const storeFaults = createFaults();
  stage = await Stage.start({ serve: { ...SMALL, store: 'memory:', hangTimeout }, storeFaults });
  const { load } = stage;
  load.start();
  await sleep(300);
  Atomics.store(new Int32Array(storeFaults), FAULTS.BUG, bug);
  await waitForReplacement(1);
  await sleep(200);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.warnings.join('\n')).toContain(text);
  expect(stage.failures).toEqual([]);
});

it('writes everything at a stop in the middle of its replacement', { timeout: 120_000 }, async () => {
  stage = await Stage.start({ serve: { ...SMALL, flushDelay: '1h' } });
  const { load, workers } = stage;
  for (let round = 0; round < 3; round++) {
    load.start();
    await sleep(300);
    void workers.killPersister();
    await stage.restart();
    await stage.verify();
    expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  }
});

it('lists a user that does not fit into memory, each entry once', { timeout: 120_000 }, async () => {
  const ENTRIES = 3000;
  stage = await Stage.start({ serve: { ...SMALL, flushDelay: '100ms' } });
  const { workers } = stage;
  for (let from = 1; from <= ENTRIES; from += 100) {
    const read_states = Array.from({ length: 100 }, (_, i) => ({
      channel_id: String(from + i),
      message_id: '5',
    }));
    await expect
      .poll(async () => (await stage!.post('/v1/users/77/read-states/ack-bulk', { read_states })).status)
      .toBe(200);
  }
  const random = new Random(SEED);
  let cut = 0;
  for (let round = 1; round <= KILLS; round++) {
    const asked = stage.get('/v1/users/77/read-states');
    await sleep(random.below(15));
    const isAnswered = await Promise.race([asked.then(() => true), Promise.resolve(false)]);
    if (!isAnswered) cut++;
    await workers.killPersister();
    const { entries } = (await asked) as { entries: { id: string }[] };
    expect(entries.map(({ id }) => Number(id)).sort((a, b) => a - b)).toEqual(
      Array.from({ length: ENTRIES }, (_, i) => i + 1),
    );
    await waitForReplacement(round);
  }
  expect(cut).toBeGreaterThan(0);
});

it('says that it is not ready while its store does not open', { timeout: 60_000 }, async () => {
  stage = await Stage.start({ serve: SMALL });
  const { load, workers } = stage;
  const store = join(stage.directory, 'store');
  const readyz = async (): Promise<number> => (await fetch(new URL('/readyz', stage!.url))).status;
  load.start();
  await sleep(300);
  renameSync(store, `${store}-away`);
  writeFileSync(store, '');
  await workers.killPersister();
  await expect.poll(readyz, { timeout: 20_000 }).toBe(503);
  expect(workers.replacedPersisters).toBe(0);
  rmSync(store);
  renameSync(`${store}-away`, store);
  await waitForReplacement(1);
  expect(await readyz()).toBe(200);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.warnings.join('\n')).toContain('does not start');
});
