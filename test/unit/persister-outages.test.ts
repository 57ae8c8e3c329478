/** A store that is away, and back, more than once; and what it still says of loads that were given up. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDoorbell } from '../../engine/doorbell.js';
import { ENTRY, ROW, STATUS_OK, STATUS_STORE_UNAVAILABLE } from '../../engine/messages.js';
import { Persister } from '../../workers/persister.js';
import { createStats, PERSISTER_STATS } from '../../workers/stats.js';
import { createFaults, FAULTS, MemoryStore } from '../../workers/stores/memory.js';
import type { RowSink } from '../../workers/stores/store.js';
import { ShardStub } from '../integration/shard-stub.js';

const LOAD_TIMEOUT_MS = 100;
const PROBE_MS = 20;

/** A store whose loads of some users go on when the test says so. */
class HeldStore extends MemoryStore {
  override rowsAWrite = 8192;
  /** By user: what the load waits for, before its row and after it. */
  readonly held = new Map<number, { readonly before: Promise<void>; readonly after: Promise<void> }>();

  override async loadUser(userLo: number, userHi: number, sink: RowSink) {
    const held = this.held.get(userLo);
    if (held === undefined) return super.loadUser(userLo, userHi, sink);
    await held.before;
    const row = new Int32Array(ROW.WORDS);
    row[ENTRY.CHANNEL_LO] = userLo;
    row[ENTRY.MESSAGE_LO] = userLo;
    await sink(row, 1);
    await held.after;
    return { version: 1, deletedVersion: 0 };
  }
}

let faults: Int32Array;
let store: HeldStore;
let shard: ShardStub;
let persister: Persister;
let stats: Float64Array;

beforeEach(() => {
  const memory = createFaults();
  faults = new Int32Array(memory);
  store = new HeldStore(memory);
  shard = new ShardStub(() => persister.wake());
  const block = createStats(PERSISTER_STATS);
  stats = new Float64Array(block);
  const options = {
    shards: [shard.memory],
    number: 0,
    doorbell: createDoorbell(),
    stats: block,
    loadTimeoutMs: LOAD_TIMEOUT_MS,
  };
  persister = new Persister(store, options, () => {}, PROBE_MS);
});
afterEach(async () => {
  faults.fill(0);
  persister.stop();
  let ended = false;
  const end = persister.ended.then(() => {
    ended = true;
  });
  await shard.until(() => ended);
  await end;
});

describe('a persister', () => {
  it('gives the rows of a load that was given up to nobody', async () => {
    let [goOn, end] = [() => {}, () => {}];
    const never = new Promise<void>(() => {});
    const late = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    store.held.set(7, { before: late, after: never });
    store.held.set(8, { before: Promise.resolve(), after: ended });
    shard.load(1, 7);
    await shard.until(({ loaded }) => loaded.length === 1);
    expect(shard.loaded[0]).toMatchObject({ tag: 1, status: STATUS_STORE_UNAVAILABLE, rows: [] });
    shard.load(2, 8);
    await new Promise(setImmediate); // its row is there, and its end is not
    goOn();
    await new Promise(setImmediate);
    end();
    await shard.until(({ loaded }) => loaded.length === 2);
    expect(shard.loaded[1]).toMatchObject({ tag: 2, status: STATUS_OK, last: true, rows: [[8, 8]] });
  });

  it('finds out that the store answers loads again, also the second time', async () => {
    let tag = 0;
    for (let outage = 1; outage <= 2; outage++) {
      faults[FAULTS.LOAD_ERROR_PERMILLE] = 1000;
      while (stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN] === 0) {
        shard.load(++tag, 7);
        await shard.until(({ loaded }) => loaded.length === tag);
      }
      faults[FAULTS.LOAD_ERROR_PERMILLE] = 0;
      await shard.until(() => stats[PERSISTER_STATS.LOAD_CIRCUIT_OPEN] === 0);
      expect(stats[PERSISTER_STATS.LOAD_CIRCUIT_OPENED]).toBe(outage);
    }
  });

  it('finds out that the store takes writes again, also the second time', async () => {
    store.rowsAWrite = 1;
    let user = 0;
    for (let outage = 1; outage <= 2; outage++) {
      faults[FAULTS.WRITE_ERROR_PERMILLE] = 1000;
      for (let count = 0; count < 20; count++) shard.flush(++user, [[user, 1, 1]]);
      await shard.until(() => stats[PERSISTER_STATS.WRITE_CIRCUIT_OPEN] === 1);
      faults[FAULTS.WRITE_ERROR_PERMILLE] = 0;
      await shard.until(({ flushed }) => flushed.length === user);
      expect(stats[PERSISTER_STATS.WRITE_CIRCUIT_OPENED]).toBe(outage);
    }
  });
});
