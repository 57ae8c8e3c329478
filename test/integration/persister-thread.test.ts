/** The persister on its thread, as the supervisor starts it; this thread plays the shards. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { createDoorbell, DOORBELL, Doorbell } from '../../engine/doorbell.js';
import { STATUS_OK, STATUS_STORE_UNAVAILABLE } from '../../engine/messages.js';
import type { PersisterOptions, PersisterOrder, PersisterReport } from '../../workers/persister.js';
import { createStats, PERSISTER_STATS } from '../../workers/stats.js';
import { createFaults, FAULTS } from '../../workers/stores/memory.js';
import { TaskThread } from '../../workers/task-thread.js';
import { ThreadGate } from '../../workers/thread-gate.js';
import { ShardStub } from './shard-stub.js';

const THREAD = fileURLToPath(new URL('../../workers/persister-thread.cjs', import.meta.url));
const STOP: PersisterOrder = { stop: true };

const clean: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const each of clean.splice(0)) await each();
});

interface Running {
  readonly shards: readonly ShardStub[];
  readonly faults: Int32Array;
  readonly stats: Float64Array;
  /** Resolves when the persister sleeps. */
  asleep: () => Promise<void>;
  readonly reports: PersisterReport[];
  stop: () => void;
  /** Of the task. */
  readonly ended: Promise<unknown>;
  /** How often the persister was woken. */
  wakes: () => number;
  nextReport: () => Promise<PersisterReport>;
}

async function start(store: string, shardCount = 1): Promise<Running> {
  const doorbell = createDoorbell();
  const faults = createFaults();
  const stats = createStats(PERSISTER_STATS);
  const bell = new Doorbell(doorbell);
  const shards = Array.from({ length: shardCount }, () => new ShardStub(() => bell.ring()));
  const reports: PersisterReport[] = [];
  let onReport = (): void => {};
  const options: Omit<PersisterOptions, 'port'> = {
    store,
    shards: shards.map(({ memory }) => memory),
    number: 0,
    doorbell,
    gate: ThreadGate.create(),
    stats,
    marksStore: false,
    faults,
  };
  const file = pathToFileURL(THREAD).href;
  const thread = new TaskThread<unknown, PersisterReport>(file, options, {}, (report) => {
    reports.push(report);
    onReport();
  });
  const { done } = thread;
  done.catch(() => {});
  clean.push(async () => {
    new Int32Array(faults).fill(0);
    thread.post(STOP);
    await done;
    await thread.end();
  });
  const nextReport = async (): Promise<PersisterReport> => {
    const index = reports.length;
    await new Promise<void>((resolve) => {
      onReport = resolve;
    });
    return reports[index]!;
  };
  const words = new Int32Array(doorbell);
  const asleep = async (): Promise<void> => {
    while (Atomics.load(words, DOORBELL.ASLEEP) === 0) await sleep(1);
  };
  const running = {
    asleep,
    shards,
    faults: new Int32Array(faults),
    stats: new Float64Array(stats),
    reports,
    stop: () => thread.post(STOP),
    ended: done,
    wakes: () => words[DOORBELL.SIGNAL]!,
    nextReport,
  };
  await nextReport();
  return running;
}

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-persister-'));
  clean.unshift(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('the persister thread', () => {
  it('says why the store cannot be opened, and ends', async () => {
    for (const store of ['nowhere:', `lmdb:${THREAD}/below-a-file`]) {
      const { reports, ended } = await start(store);
      expect(reports).toEqual([{ error: expect.stringContaining(store) }]);
      await ended;
    }
  });

  it('is woken when it sleeps, wakes the shard, and is left alone while it is awake', async () => {
    const { shards, reports, wakes, faults, asleep } = await start('memory:');
    expect(reports).toEqual([{ ready: true, mark: null }]);
    const shard = shards[0]!;
    for (let round = 1; round <= 20; round++) {
      await asleep();
      shard.doorbell.sleep();
      shard.load(round, 7);
      shard.take();
      if (shard.loaded.length < round) shard.doorbell.wait(5000);
      shard.take();
      expect(shard.loaded.length).toBe(round);
    }
    // Now and then it just looks by itself when the load is published.
    expect(wakes()).toBeGreaterThan(10);
    expect(wakes()).toBeLessThanOrEqual(20);
    faults[FAULTS.WRITE_DELAY_MS] = 1;
    for (let user = 1; user <= 1000; user++) shard.flush(user, [[1, 1, 1]]);
    await shard.until(({ flushed }) => flushed.length === 1000);
    expect(wakes()).toBeLessThan(500);
  });

  it('answers each of many requests of several shards once, while the store fails at random', async () => {
    const { shards, faults, stop, ended, stats } = await start('memory:?load_error_permille=100', 3);
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 100;
    await Promise.all(
      shards.map(async (shard, index) => {
        let loads = 0;
        let flushes = 0;
        while (loads < 2000 || flushes < 2000) {
          const user = 1 + index * 100_000 + (flushes % 500);
          const loadSent = loads < 2000 && shard.load(loads + 1, user);
          const flushSent = flushes < 2000 && shard.flush(user, [[flushes + 1, 1 + (flushes % 40), flushes]]);
          if (loadSent) loads++;
          if (flushSent) flushes++;
          if ((!loadSent && !flushSent) || (loads + flushes) % 64 === 0) {
            shard.take(50);
            await sleep(0);
          }
        }
        await shard.until(({ loaded, flushed }) => loaded.length === 2000 && flushed.length === 2000);
      }),
    );
    stop();
    await ended;
    const failures = { loads: 0, flushes: 0 };
    for (const shard of shards) {
      shard.take();
      expect(new Set(shard.loaded.map(({ tag }) => tag)).size).toBe(2000);
      expect(new Set(shard.flushed.map(({ slots }) => slots[0])).size).toBe(2000);
      failures.loads += shard.loaded.filter(({ status }) => status === STATUS_STORE_UNAVAILABLE).length;
      failures.flushes += shard.flushed.filter(({ status }) => status === STATUS_STORE_UNAVAILABLE).length;
    }
    expect(failures.loads).toBeGreaterThan(400);
    expect(failures.loads).toBe(stats[PERSISTER_STATS.LOAD_FAILURES]);
    expect(failures.flushes).toBeGreaterThan(400);
    expect(failures.flushes).toBe(stats[PERSISTER_STATS.WRITE_FAILURES]);
  });

  it('goes on when the store does, after a hang and after errors, and complains on its port', async () => {
    const { shards, faults, nextReport } = await start('memory:');
    const shard = shards[0]!;
    faults[FAULTS.LOAD_HANG] = 1;
    faults[FAULTS.WRITE_HANG] = 1;
    shard.load(1, 7);
    shard.flush(7, [[1, 1, 1]]);
    await sleep(50);
    shard.take();
    expect([shard.loaded, shard.flushed]).toEqual([[], []]);
    faults[FAULTS.LOAD_HANG] = 0;
    faults[FAULTS.WRITE_HANG] = 0;
    await shard.until(({ loaded, flushed }) => loaded.length === 1 && flushed.length === 1);
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 1000;
    const report = nextReport();
    shard.flush(7, [[1, 1, 2]]);
    expect(await report).toEqual({ warning: 'memory: a write was told to fail' });
    await shard.until(({ flushed }) => flushed.length === 2);
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 0;
    shard.flush(7, [[1, 1, 3]]);
    await shard.until(({ flushed }) => flushed.length === 3);
    expect(shard.flushed.map(({ status }) => status)).toEqual([
      STATUS_OK,
      STATUS_STORE_UNAVAILABLE,
      STATUS_OK,
    ]);
  });

  it('finishes what is in the rings when it is told to stop, and LMDB has it afterwards', async () => {
    const store = `lmdb:${newDirectory()}`;
    const first = await start(store);
    expect(first.reports).toEqual([{ ready: true, mark: null }]);
    let sent = 0;
    while (
      sent < 400 &&
      first.shards[0]!.flush(
        sent + 1,
        [
          [1, 5, sent],
          [2, 6, sent],
        ],
        { version: sent + 1 },
      )
    )
      sent++;
    first.stop();
    await first.ended;
    first.shards[0]!.take();
    expect(first.shards[0]!.flushed.map(({ status }) => status)).toEqual(
      Array.from({ length: sent }, () => STATUS_OK),
    );

    const second = await start(store);
    const shard = second.shards[0]!;
    for (let user = 1; user <= sent; user++) shard.load(user, user);
    await shard.until(({ loaded }) => loaded.length === sent);
    for (const { tag, version, rows } of shard.loaded) {
      expect(version).toBe(tag);
      expect(rows).toEqual([
        [5, tag - 1],
        [6, tag - 1],
      ]);
    }
  });

  it('shows its heap and its collections', async () => {
    const { shards, stats } = await start('memory:');
    expect(stats[PERSISTER_STATS.HEAP_USED_BYTES]).toBeGreaterThan(1_000_000);
    const shard = shards[0]!;
    const rows = Array.from({ length: 100 }, (_, i) => [i + 1, i + 1, 1] as const);
    for (let round = 0; stats[PERSISTER_STATS.GC_COUNT] === 0 && round < 2000; round++) {
      for (let user = 1; user <= 20; user++) shard.flush(user, rows);
      await shard.until(({ flushed }) => flushed.length === 20 * (round + 1));
    }
    expect(stats[PERSISTER_STATS.GC_COUNT]).toBeGreaterThan(0);
    expect(stats[PERSISTER_STATS.GC_PAUSE_MAX_MS]).toBeGreaterThan(0);
    expect(stats[PERSISTER_STATS.GC_PAUSE_SUM_MS]).toBeGreaterThanOrEqual(
      stats[PERSISTER_STATS.GC_PAUSE_MAX_MS]!,
    );
  });
});
