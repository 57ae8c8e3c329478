/** The persister's logic on this thread, over real rings and a store in memory. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDoorbell } from '../../engine/doorbell.js';
import { LOAD_PART_ROWS, STATUS_OK, STATUS_STORE_UNAVAILABLE } from '../../engine/messages.js';
import { BATCH_ROWS_MAX, LOADS_MAX, Persister, SHARD_ROWS_MAX } from '../../workers/persister.js';
import { createStats, PERSISTER_STATS } from '../../workers/stats.js';
import { createFaults, FAULTS, MemoryStore } from '../../workers/stores/memory.js';
import type { WriteGroup } from '../../workers/stores/store.js';
import { ShardStub } from '../integration/shard-stub.js';

/** Also checks what the persister promises every store: one call at a time. */
class WatchedStore extends MemoryStore {
  readonly batches: WriteGroup[][] = [];
  #writes = 0;

  override async write(groups: readonly WriteGroup[]) {
    expect(++this.#writes).toBe(1);
    this.batches.push([...groups]);
    const results = await super.write(groups);
    this.#writes--;
    return results;
  }
}

let faults: Int32Array;
let store: WatchedStore;
let shards: ShardStub[];
let persister: Persister;
let stats: Float64Array;
let warnings: string[];

function start(count: number): void {
  const memory = createFaults();
  faults = new Int32Array(memory);
  store = new WatchedStore(memory);
  shards = Array.from({ length: count }, () => new ShardStub(() => persister.wake()));
  const block = createStats(PERSISTER_STATS);
  stats = new Float64Array(block);
  warnings = [];
  const options = { shards: shards.map((shard) => shard.memory), doorbell: createDoorbell(), stats: block };
  persister = new Persister(store, options, (text) => warnings.push(text));
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

/** Rows [slot, channel, message] of channels 1 to `count`. */
const rowsOf = (count: number, message = 1): [number, number, number][] =>
  Array.from({ length: count }, (_, i) => [1000 + i, i + 1, message]);

beforeEach(() => start(1));
afterEach(async () => {
  faults.fill(0);
  persister.stop();
  let ended = false;
  const end = persister.ended.then(() => {
    ended = true;
  });
  while (!ended) {
    for (const shard of shards) shard.take();
    await turns(1);
  }
  await end;
});

describe('persister', () => {
  it('loads a user in parts, the last with the versions', async () => {
    const shard = shards[0]!;
    const rows = rowsOf(2 * LOAD_PART_ROWS + 44);
    for (let from = 0; from < rows.length; from += 100) {
      shard.flush(7, rows.slice(from, from + 100), { version: 5 });
    }
    await shard.until(({ flushed }) => flushed.length === 3);
    shard.load(99, 7);
    await shard.until(({ loaded }) => loaded.at(-1)?.last === true);
    expect(shard.loaded.map(({ rows: { length }, ...part }) => ({ ...part, length }))).toEqual([
      { tag: 99, status: STATUS_OK, last: false, version: 0, deletedVersion: 0, length: LOAD_PART_ROWS },
      { tag: 99, status: STATUS_OK, last: false, version: 0, deletedVersion: 0, length: LOAD_PART_ROWS },
      { tag: 99, status: STATUS_OK, last: true, version: 5, deletedVersion: 0, length: 44 },
    ]);
    expect(shard.loaded.flatMap((part) => part.rows)).toEqual(
      rows.map(([, channel, message]) => [channel, message]),
    );
  });

  it('answers a load with one message when one is enough, also for what does not exist', async () => {
    const shard = shards[0]!;
    shard.flush(
      7,
      [
        [1, 11, 111],
        [2, 12, 112],
      ],
      { version: 3 },
    );
    await shard.until(({ flushed }) => flushed.length === 1);
    shard.load(1, 7);
    shard.load(2, 7, [12, 13]);
    shard.load(3, 7, []);
    shard.load(4, 8);
    await shard.until(({ loaded }) => loaded.length === 4);
    const answer = { status: STATUS_OK, last: true, version: 3, deletedVersion: 0 };
    expect([...shard.loaded].sort((a, b) => a.tag - b.tag)).toEqual([
      {
        tag: 1,
        ...answer,
        rows: [
          [11, 111],
          [12, 112],
        ],
      },
      { tag: 2, ...answer, rows: [[12, 112]] },
      { tag: 3, ...answer, rows: [] },
      { tag: 4, ...answer, version: 0, rows: [] },
    ]);
  });

  it('echoes what a flush came with', async () => {
    const shard = shards[0]!;
    shard.flush(
      7,
      [
        [41, 1, 1],
        [42, 2, 1],
        [17, 3, 1],
      ],
      { partition: 5, userSlot: 1234 },
    );
    shard.flush(8, [], { partition: 6, userSlot: 77, wipe: true });
    await shard.until(({ flushed }) => flushed.length === 2);
    expect(shard.flushed).toEqual([
      { status: STATUS_OK, wipe: false, partition: 5, userSlot: 1234, slots: [41, 42, 17] },
      { status: STATUS_OK, wipe: true, partition: 6, userSlot: 77, slots: [] },
    ]);
  });

  it('answers a failed load as unavailable, also after its first rows', async () => {
    const shard = shards[0]!;
    for (let from = 0; from < 300; from += 100) shard.flush(7, rowsOf(300).slice(from, from + 100));
    await shard.until(({ flushed }) => flushed.length === 3);
    const failed = { status: STATUS_STORE_UNAVAILABLE, last: true, version: 0, deletedVersion: 0, rows: [] };
    faults[FAULTS.LOAD_ERROR_PERMILLE] = 1000;
    shard.load(1, 7);
    await shard.until(({ loaded }) => loaded.length === 1);
    faults[FAULTS.LOAD_ERROR_PERMILLE] = 0;
    faults[FAULTS.LOAD_ROWS_THEN_ERROR] = 1;
    shard.load(2, 7);
    await shard.until(({ loaded }) => loaded.at(-1)?.tag === 2 && loaded.at(-1)?.last === true);
    expect(shard.loaded).toEqual([
      { tag: 1, ...failed },
      { tag: 2, ...failed },
    ]);
    expect(stats[PERSISTER_STATS.LOAD_FAILURES]).toBe(2);
    expect(warnings).toEqual(['memory: a load was told to fail']); // one a second
  });

  it('answers failed groups as unavailable, and only those', async () => {
    const shard = shards[0]!;
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 300;
    for (let user = 1; user <= 200; user++) shard.flush(user, [[user, 1, 1]]);
    await shard.until(({ flushed }) => flushed.length === 200);
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 0;
    const bad = shard.flushed.filter(({ status }) => status === STATUS_STORE_UNAVAILABLE);
    expect(bad.length).toBeGreaterThan(30);
    expect(bad.length).toBeLessThan(90);
    for (const { userSlot } of shard.flushed) shard.load(userSlot, userSlot);
    await shard.until(({ loaded }) => loaded.length === 200);
    const badUsers = new Set(bad.map(({ userSlot }) => userSlot));
    for (const { tag, rows } of shard.loaded) expect(rows.length).toBe(badUsers.has(tag) ? 0 : 1);
    expect(stats[PERSISTER_STATS.WRITE_FAILURES]).toBe(bad.length);
    expect(stats[PERSISTER_STATS.WRITTEN_ROWS]).toBe(200 - bad.length);
  });

  it('takes a bounded number of loads, and flushes pass them', async () => {
    const shard = shards[0]!;
    faults[FAULTS.LOAD_HANG] = 1;
    for (let tag = 1; tag <= 3 * LOADS_MAX; tag++) expect(shard.load(tag, 7)).toBe(true);
    shard.flush(8, [[1, 1, 1]]);
    await shard.until(({ flushed }) => flushed.length === 1);
    expect(faults[FAULTS.LOADS]).toBe(LOADS_MAX);
    expect(stats[PERSISTER_STATS.LOADS_IN_FLIGHT]).toBe(LOADS_MAX);
    expect(shard.waitingWords.loads).toBeGreaterThan(0);
    faults[FAULTS.LOAD_HANG] = 0;
    await shard.until(({ loaded }) => loaded.length === 3 * LOADS_MAX);
    expect(new Set(shard.loaded.map(({ tag }) => tag)).size).toBe(3 * LOADS_MAX);
  });

  it('takes a bounded number of rows, and loads pass them', async () => {
    const shard = shards[0]!;
    faults[FAULTS.WRITE_HANG] = 1;
    const rows = rowsOf(100);
    let sent = 0;
    while (shard.flush(sent + 1, rows)) sent++;
    expect(sent * 101).toBeGreaterThan(SHARD_ROWS_MAX);
    shard.load(1, 7);
    await shard.until(({ loaded }) => loaded.length === 1);
    expect(stats[PERSISTER_STATS.WRITES_IN_FLIGHT]).toBe(Math.ceil(SHARD_ROWS_MAX / 101));
    expect(shard.waitingWords.flushes).toBeGreaterThan(0);
    faults[FAULTS.WRITE_HANG] = 0;
    await shard.until(({ flushed }) => flushed.length === sent);
    const rowsOfBatches = store.batches.map((batch) => batch.reduce((sum, { count }) => sum + count + 1, 0));
    expect(Math.max(...rowsOfBatches)).toBeLessThan(BATCH_ROWS_MAX + 101);
    expect(Math.max(...rowsOfBatches)).toBeGreaterThan(BATCH_ROWS_MAX / 2);
  });

  it('writes what came meanwhile as one batch, the groups of a user in order', async () => {
    const shard = shards[0]!;
    faults[FAULTS.WRITE_DELAY_MS] = 5;
    for (let version = 1; version <= 500; version++)
      shard.flush(1 + (version % 3), [[1, 1, version]], { version });
    await shard.until(({ flushed }) => flushed.length === 500);
    expect(store.batches.length).toBeLessThan(5);
    const seen = new Map<number, number>();
    for (const { userLo, version } of store.batches.flat()) {
      expect(version).toBeGreaterThan(seen.get(userLo) ?? 0);
      seen.set(userLo, version);
    }
    for (const user of [1, 2, 3]) shard.load(user, user);
    await shard.until(({ loaded }) => loaded.length === 3);
    for (const { tag, rows, version } of shard.loaded) {
      expect(version).toBe(seen.get(tag));
      expect(rows).toEqual([[1, seen.get(tag)]]);
    }
  });

  it('loses no answer when the ring is full', async () => {
    const shard = shards[0]!;
    for (let from = 0; from < 1000; from += 100) shard.flush(7, rowsOf(1000).slice(from, from + 100));
    await shard.until(({ flushed }) => flushed.length === 10);
    // 40 loads of 1,000 rows are 400,000 words for a ring of 8,192; and 100 confirmations.
    for (let tag = 1; tag <= 40; tag++) shard.load(tag, 7);
    for (let user = 100; user < 200; user++) shard.flush(user, rowsOf(50));
    await turns(200);
    while (shard.loaded.filter(({ last }) => last).length < 40 || shard.flushed.length < 110) {
      shard.take(3);
      await turns(2);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    for (let tag = 1; tag <= 40; tag++) {
      const parts = shard.loaded.filter((part) => part.tag === tag);
      expect(parts.map(({ last }) => last)).toEqual(parts.map((_, index) => index === parts.length - 1));
      expect(parts.flatMap(({ rows }) => rows.map(([channel]) => channel))).toEqual(
        rowsOf(1000).map(([, c]) => c),
      );
    }
    expect(new Set(shard.flushed.slice(10).map(({ userSlot }) => userSlot)).size).toBe(100);
  });

  it('serves a shard beside another that takes no answers', async () => {
    start(2);
    const [stuck, lively] = [shards[0]!, shards[1]!];
    for (let from = 0; from < 1000; from += 100) lively.flush(7, rowsOf(1000).slice(from, from + 100));
    await lively.until(({ flushed }) => flushed.length === 10);
    for (let tag = 1; tag <= 200; tag++) stuck.load(tag, 7);
    for (let user = 100; user < 300; user++) stuck.flush(user, rowsOf(100));
    await turns(300);
    for (let tag = 1; tag <= 200; tag++) lively.load(tag, 7, [5]);
    for (let user = 300; user < 400; user++) lively.flush(user, rowsOf(10));
    await lively.until(({ loaded, flushed }) => loaded.length === 200 && flushed.length === 110);
    await stuck.until(
      ({ loaded, flushed }) => loaded.filter(({ last }) => last).length === 200 && flushed.length === 200,
    );
  });

  it('finishes everything before it ends', async () => {
    const shard = shards[0]!;
    faults[FAULTS.WRITE_DELAY_MS] = 20;
    faults[FAULTS.LOAD_DELAY_MS] = 20;
    for (let tag = 1; tag <= 2 * LOADS_MAX; tag++) shard.load(tag, 7);
    for (let user = 1; user <= 300; user++) shard.flush(user, rowsOf(10));
    persister.stop();
    let ended = false;
    const end = persister.ended.then(() => {
      ended = true;
    });
    await shard.until(() => ended);
    await end;
    expect(shard.loaded.length).toBe(2 * LOADS_MAX);
    expect(shard.flushed.length).toBe(300);
    expect(faults[FAULTS.WRITES]).toBe(300);
    expect(stats[PERSISTER_STATS.LOADS]).toBe(2 * LOADS_MAX);
    expect(stats[PERSISTER_STATS.LOADS_IN_FLIGHT]).toBe(0);
    expect(stats[PERSISTER_STATS.WRITES_IN_FLIGHT]).toBe(0);
    expect(stats[PERSISTER_STATS.WRITE_SECONDS_SUM]).toBeGreaterThan(0.015);
    expect(stats[PERSISTER_STATS.LOAD_SECONDS_SUM]).toBeGreaterThan(LOADS_MAX * 0.03);
  });
});
