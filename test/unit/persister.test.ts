/** The persister's logic on this thread, over real rings and a store in memory. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDoorbell } from '../../engine/doorbell.js';
import { LOAD_PART_ROWS, STATUS_OK, STATUS_STORE_UNAVAILABLE } from '../../engine/messages.js';
import { LOADS_MAX, Persister, SHARD_ROWS_MAX } from '../../workers/persister.js';
import { WINDOW_WORDS } from '../../workers/ring-window.js';
import { createStats, PERSISTER_STATS } from '../../workers/stats.js';
import { createFaults, FAULTS, MemoryStore } from '../../workers/stores/memory.js';
import { GroupRefused, type RowSink, type WriteGroup } from '../../workers/stores/store.js';
import { ShardStub } from '../integration/shard-stub.js';

/** Also checks what the persister promises every store: no more calls at once than it takes. */
class WatchedStore extends MemoryStore {
  override loadsAtOnce = Number.POSITIVE_INFINITY;
  override writesAtOnce = 1;
  override rowsAWrite = 8192;
  readonly batches: WriteGroup[][] = [];
  writes = 0;
  writesMost = 0;
  loads = 0;
  loadsMost = 0;
  /** Of users whose groups are refused. */
  readonly refused = new Set<number>();

  override async write(groups: readonly WriteGroup[]) {
    expect(++this.writes).toBeLessThanOrEqual(this.writesAtOnce);
    this.writesMost = Math.max(this.writesMost, this.writes);
    this.batches.push([...groups]);
    const results = await super.write(groups);
    this.writes--;
    return groups.map(({ userLo }, index) =>
      this.refused.has(userLo) ? new GroupRefused(`user ${userLo} is refused`) : results[index]!,
    );
  }

  override async loadUser(userLo: number, userHi: number, sink: RowSink) {
    this.loadsMost = Math.max(this.loadsMost, ++this.loads);
    try {
      return await super.loadUser(userLo, userHi, sink);
    } finally {
      this.loads--;
    }
  }
}

const LOAD_TIMEOUT_MS = 200;
const PROBE_MS = 50;

let faults: Int32Array;
let store: WatchedStore;
let shards: ShardStub[];
let persister: Persister;
let stats: Float64Array;
let warnings: string[];

function start(count: number, ringWords?: { loads: number; flushes: number; answers: number }): void {
  const memory = createFaults();
  faults = new Int32Array(memory);
  store = new WatchedStore(memory);
  shards = Array.from({ length: count }, () => new ShardStub(() => persister.wake(), ringWords));
  const block = createStats(PERSISTER_STATS);
  stats = new Float64Array(block);
  warnings = [];
  const options = {
    shards: shards.map((shard) => shard.memory),
    number: 0,
    doorbell: createDoorbell(),
    stats: block,
    loadTimeoutMs: LOAD_TIMEOUT_MS,
  };
  persister = new Persister(store, options, (text) => warnings.push(text), PROBE_MS);
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

/** Rows [slot, channel, message] of channels 1 to `count`. */
const rowsOf = (count: number, message = 1): [number, number, number][] =>
  Array.from({ length: count }, (_, i) => [1000 + i, i + 1, message]);

/** Of all calls of the store; a group counts one more. */
const mostRowsOfACall = (): number =>
  Math.max(...store.batches.map((batch) => batch.reduce((sum, { count }) => sum + count + 1, 0)));

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
    // Of a user's 100 rows, which lie together, a call takes a quarter of what it takes of scattered ones.
    const most = mostRowsOfACall();
    expect(most).toBeLessThan(store.rowsAWrite / 4 + 101);
    expect(most).toBeGreaterThan(store.rowsAWrite / 8);
  });

  it('gives the store 8,192 scattered rows at once', async () => {
    const shard = shards[0]!;
    faults[FAULTS.WRITE_HANG] = 1;
    let sent = 0;
    while (sent < 1000 && shard.flush(sent + 1, rowsOf(49))) sent++;
    await turns(100);
    faults[FAULTS.WRITE_HANG] = 0;
    await shard.until(({ flushed }) => flushed.length === sent);
    expect(mostRowsOfACall()).toBeGreaterThan(store.rowsAWrite / 2);
    expect(mostRowsOfACall()).toBeLessThan(store.rowsAWrite + 50);
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

  it('lets a short load pass a long one that the shard has not taken', async () => {
    start(1, { loads: 8192, flushes: 2 ** 20, answers: 2 ** 17 });
    const shard = shards[0]!;
    const rows = rowsOf(8000);
    for (let from = 0; from < rows.length; from += 100) shard.flush(7, rows.slice(from, from + 100));
    shard.flush(8, rowsOf(1));
    await shard.until(({ flushed }) => flushed.length === 81);
    shard.load(1, 7);
    await turns(200);
    const filled = shard.filledWords;
    expect(filled).toBeGreaterThan(2 * WINDOW_WORDS);
    expect(filled).toBeLessThan(2.5 * WINDOW_WORDS);
    shard.load(2, 8);
    await turns(20);
    expect(shard.filledWords - filled).toBeLessThan(50);
    await shard.until(({ loaded }) => loaded.filter(({ last }) => last).length === 2);
    expect(shard.loaded.find(({ last }) => last)?.tag).toBe(2);
    const long = shard.loaded.filter(({ tag }) => tag === 1);
    expect(long.flatMap((part) => part.rows)).toEqual(rows.map(([, channel, message]) => [channel, message]));
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

  it('asks for as many loads at once as the store takes, which may change', async () => {
    start(3);
    faults[FAULTS.LOAD_DELAY_MS] = 5;
    store.loadsAtOnce = 7;
    for (const shard of shards) for (let tag = 1; tag <= 40; tag++) shard.load(tag, tag);
    await turns(3);
    expect(store.loads).toBe(7);
    store.loadsAtOnce = 20;
    for (const shard of shards) await shard.until(({ loaded }) => loaded.length === 40);
    expect(store.loadsMost).toBe(20);
  });

  it('gives a store that takes several writes at once several, and its groups one by one', async () => {
    const shard = shards[0]!;
    store.writesAtOnce = 8;
    store.rowsAWrite = 1;
    faults[FAULTS.WRITE_DELAY_MS] = 2;
    for (let user = 1; user <= 300; user++) shard.flush(user, rowsOf(3));
    await shard.until(({ flushed }) => flushed.length === 300);
    expect(store.writesMost).toBe(8);
    expect(store.batches.every(({ length }) => length === 1)).toBe(true);
    expect(store.batches.flat().map(({ userLo }) => userLo)).toEqual(
      Array.from({ length: 300 }, (_, i) => i + 1),
    );
    expect(stats[PERSISTER_STATS.WRITES_AT_ONCE]).toBe(8);
  });

  it('gives up loads of a store that hangs, and their places are free', async () => {
    const shard = shards[0]!;
    shard.flush(7, [[1, 1, 1]]);
    await shard.until(({ flushed }) => flushed.length === 1);
    faults[FAULTS.LOAD_HANG] = 1;
    const sinceMs = performance.now();
    for (let tag = 1; tag <= 3 * LOADS_MAX; tag++) shard.load(tag, 7);
    await shard.until(({ loaded }) => loaded.length === 3 * LOADS_MAX);
    const probesMax = (performance.now() - sinceMs) / PROBE_MS + 1;
    expect(shard.loaded.every(({ status }) => status === STATUS_STORE_UNAVAILABLE)).toBe(true);
    expect(faults[FAULTS.LOADS]).toBeLessThanOrEqual(LOADS_MAX + probesMax); // the first, and probes
    expect(stats[PERSISTER_STATS.LOAD_TIMEOUTS]).toBeGreaterThanOrEqual(LOADS_MAX);
    expect(stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN]).toBe(1);
    faults[FAULTS.LOAD_HANG] = 0; // those that hung go on now: nobody must hear of it
    await shard.until(() => stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN] === 0);
    shard.load(1000, 7);
    await shard.until(({ loaded }) => loaded.length === 3 * LOADS_MAX + 1);
    expect(shard.loaded.at(-1)).toMatchObject({ tag: 1000, status: STATUS_OK, rows: [[1, 1]] });
    expect(stats[PERSISTER_STATS.LOADS_IN_FLIGHT]).toBe(0);
  });

  it('does not give up a load for a shard that has no room', async () => {
    const shard = shards[0]!;
    for (let from = 0; from < 3000; from += 100) shard.flush(7, rowsOf(3000).slice(from, from + 100));
    await shard.until(({ flushed }) => flushed.length === 30);
    shard.load(1, 7);
    await new Promise((resolve) => setTimeout(resolve, 3 * LOAD_TIMEOUT_MS));
    await shard.until(({ loaded }) => loaded.at(-1)?.last === true);
    expect(shard.loaded.flatMap(({ rows }) => rows)).toHaveLength(3000);
  });

  it('asks a store that fails all loads no more, but to find out whether it is back', async () => {
    const shard = shards[0]!;
    faults[FAULTS.LOAD_ERROR_PERMILLE] = 1000;
    for (let tag = 1; tag <= 5; tag++) {
      shard.load(tag, 7);
      await shard.until(({ loaded }) => loaded.length === tag);
    }
    expect(stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN]).toBe(1);
    expect(warnings.at(-1)).toContain('the store fails all loads');
    const asked = faults[FAULTS.LOADS]!;
    const sinceMs = performance.now();
    let sent = 5;
    while (performance.now() - sinceMs < 6 * PROBE_MS) {
      shard.load(++sent, 7);
      await shard.until(({ loaded }) => loaded.length === sent);
    }
    const probes = faults[FAULTS.LOADS]! - asked;
    expect(sent).toBeGreaterThan(20);
    expect(probes).toBeGreaterThan(0);
    expect(probes).toBeLessThanOrEqual((performance.now() - sinceMs) / PROBE_MS + 1);
    expect(stats[PERSISTER_STATS.LOADS_REFUSED]).toBe(sent - 5);
    faults[FAULTS.LOAD_ERROR_PERMILLE] = 0;
    await shard.until(() => stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN] === 0); // without any load of the shard
    expect(warnings.at(-1)).toBe('the store answers loads again');
    shard.load(sent + 1, 7);
    await shard.until(({ loaded }) => loaded.at(-1)?.tag === sent + 1);
    expect(shard.loaded.at(-1)?.status).toBe(STATUS_OK);
  });

  it('lets writes wait while the store fails all, tries one now and then, and then writes all', async () => {
    const shard = shards[0]!;
    store.writesAtOnce = 4;
    store.rowsAWrite = 1;
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 1000;
    for (let user = 1; user <= 500; user++) shard.flush(user, [[user, 1, 1]]);
    await shard.until(() => stats[PERSISTER_STATS.WRITE_CIRCUIT_OPEN] === 1);
    const sinceMs = performance.now();
    const tried = store.batches.length;
    expect(tried).toBeLessThan(10);
    await new Promise((resolve) => setTimeout(resolve, 5 * PROBE_MS));
    const probes = store.batches.length - tried;
    expect(probes).toBeGreaterThan(0);
    expect(probes).toBeLessThanOrEqual((performance.now() - sinceMs) / PROBE_MS + 1);
    expect(stats[PERSISTER_STATS.WRITES_IN_FLIGHT]).toBeGreaterThan(480);
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 0;
    await shard.until(({ flushed }) => flushed.length === 500);
    const failed = shard.flushed.filter(({ status }) => status !== STATUS_OK);
    expect(failed.length).toBeLessThan(30);
    expect(store.batches.flat()).toHaveLength(500); // each of them once
    expect(warnings).toContain('the store takes writes again');
  });

  it('takes a group that is refused for no failure of the store', async () => {
    const shard = shards[0]!;
    store.writesAtOnce = 4;
    store.rowsAWrite = 1;
    for (let user = 1; user <= 50; user++) store.refused.add(user);
    for (let user = 1; user <= 60; user++) shard.flush(user, [[user, 1, 1]]);
    await shard.until(({ flushed }) => flushed.length === 60);
    expect(shard.flushed.filter(({ status }) => status !== STATUS_OK)).toHaveLength(50);
    expect(stats[PERSISTER_STATS.GROUPS_REFUSED]).toBe(50);
    expect(stats[PERSISTER_STATS.WRITE_CIRCUIT_OPENED]).toBe(0);
    expect(warnings).toEqual(['user 1 is refused']); // one a second
  });

  it('tries each write once at a stop, also when the store fails all', async () => {
    const shard = shards[0]!;
    store.rowsAWrite = 1;
    faults[FAULTS.WRITE_ERROR_PERMILLE] = 1000;
    for (let user = 1; user <= 100; user++) shard.flush(user, [[user, 1, 1]]);
    await shard.until(() => stats[PERSISTER_STATS.WRITE_CIRCUIT_OPEN] === 1);
    persister.stop();
    await shard.until(({ flushed }) => flushed.length === 100);
    expect(store.batches).toHaveLength(100);
    await persister.ended;
  });
});
