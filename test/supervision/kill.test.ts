/** Threads that end at any moment: what was answered stays, what was not is answered by another, and soon. */
import { readdirSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { sleep } from '../../bench/clock.js';
import { Random } from '../../bench/random.js';
import { SEED, Stage, violationsOf } from './stage.js';

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.end();
  stage = undefined;
});

/** Kills of the full run: TIDEMARK_KILLS. */
const KILLS = Number(process.env.TIDEMARK_KILLS ?? 8);

it.each([
  ['with all in memory', { capacity: '20k' }],
  ['while users come and go', { capacity: '1500', partitions: '4' }],
  ['with --engine heap, whose objects end with them', { capacity: '20k', engine: 'heap', lanes: '2' }],
])('loses nothing when shards are killed, %s', { timeout: 600_000 }, async (_name, serve) => {
  stage = await Stage.start({ serve: { shards: '2', lanes: '4', ...serve } });
  const { load, workers } = stage;
  const random = new Random(SEED);
  load.start();
  for (let kill = 1; kill <= KILLS && load.checker.violations.length === 0; kill++) {
    await sleep(50 + random.below(400));
    await workers.killShard(random.below(2));
    await expect.poll(() => workers.replacedThreads, { timeout: 60_000 }).toBe(kill);
  }
  await sleep(200);
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
  expect(load.checker.answeredCount).toBeGreaterThan(1000);
  await stage.restart();
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
});

it('leaves a journal from which everything comes back', { timeout: 300_000 }, async () => {
  stage = await Stage.start({ serve: { shards: '2', lanes: '4', flushDelay: '1h', journalLimit: '32mib' } });
  const { load, workers } = stage;
  const random = new Random(SEED);
  load.start();
  for (let kill = 1; kill <= KILLS; kill++) {
    await sleep(50 + random.below(300));
    await workers.killShard(random.below(2));
    await expect.poll(() => workers.replacedThreads, { timeout: 60_000 }).toBe(kill);
    if (kill === KILLS / 2) await workers.resize(3);
  }
  await stage.crash();
  await stage.verify();
  expect(load.checker.violations, violationsOf(stage)).toEqual([]);
  expect(stage.failures).toEqual([]);
});

it.each([
  ['', { lanes: '4' }],
  [', --engine heap', { engine: 'heap' }],
])('writes everything at a stop in which a thread ends%s', { timeout: 120_000 }, async (_name, serve) => {
  stage = await Stage.start({ serve: { shards: '2', flushDelay: '1h', ...serve } });
  const { load } = stage;
  for (const delayMs of [-1, 0, 5, 10, 20, 40]) {
    load.start();
    await sleep(200);
    await load.stop();
    await load.drain(); // or a replacement would be done before the stop
    const { workers } = stage;
    if (delayMs < 0) void workers.killShard(0);
    const restarted = stage.restart();
    await sleep(Math.max(0, delayMs));
    void workers.killShard(1);
    await restarted;
    await stage.verify();
    expect(load.checker.violations, violationsOf(stage)).toEqual([]);
    expect(stage.failures).toEqual([]);
  }
});

it('leaves no threads behind', { timeout: 300_000 }, async () => {
  const threads = (): number => readdirSync('/proc/self/task').length;
  stage = await Stage.start({ serve: { shards: '1', lanes: '2' } });
  const { workers } = stage;
  const settled = async (): Promise<number> => {
    // Spares start one after another, on busy processors within some ten seconds each.
    await expect.poll(() => workers.spareThreads, { timeout: 60_000 }).toBe(2);
    for (let last = threads(); ; last = threads()) {
      await sleep(3000);
      if (threads() === last) return last;
    }
  };
  const before = await settled();
  for (let kill = 1; kill <= 3; kill++) {
    await workers.killShard(0);
    await expect.poll(() => workers.replacedThreads, { timeout: 60_000 }).toBe(kill);
    await workers.killPersister();
    await expect.poll(() => workers.replacedPersisters, { timeout: 60_000 }).toBe(kill);
    await workers.reload();
    await workers.reload(); // the spares are not ready yet
  }
  expect(await settled()).toBe(before);
});
