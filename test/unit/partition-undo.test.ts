/** The largest units of work of a slab partition fit into the undo log, and what an heir finds of a broken one. */
import { describe, expect, it, vi } from 'vitest';
import { hashUser } from '../../engine/hash.js';
import { META_WIPE, RECORD, USER } from '../../engine/layout.js';
import {
  BULK_ITEM,
  BULK_ITEMS_MAX,
  ENTRY,
  FLUSH,
  FLUSH_ROWS_MAX,
  IMAGE,
  LOAD_PART_ROWS,
  OP_ACK,
  OP_ACK_BULK,
  OP_DELETE_USER,
  REPLY_WORDS_MAX,
  REQUEST,
  REQUEST_WORDS_MAX,
  ROW,
} from '../../engine/messages.js';
import { OUTCOME_DONE, type Partition, type PartitionOptions } from '../../engine/partition.js';
import { slab } from '../../engine/slab.js';
import { HEADER, SlabMemory } from '../../engine/slab-memory.js';
import { UndoLog } from '../../engine/undo-log.js';
import { answer, meaningOf, OPTIONS, run, send } from '../support/partition-driver.js';

const LARGE = { ...OPTIONS, recordsMax: 40_000, usersMax: 200 };
const ROWS_OF_LARGE = 20_000;
/** A fifth of what the log takes. */
const STORES_MAX = 50_000;
/** The most rows of one message of the store, which is the most that is made room for at once. */
const WANTED_MAX = LOAD_PART_ROWS;

interface Owned {
  readonly options: PartitionOptions;
  readonly partition: Partition;
  readonly memory: SharedArrayBuffer;
  readonly undo: UndoLog;
  readonly log: SharedArrayBuffer;
}

function create(options = LARGE): Owned {
  const memory = new SharedArrayBuffer(slab.sharedBytes(options));
  const log = new SharedArrayBuffer(UndoLog.bytes());
  const undo = new UndoLog(log, [memory]);
  const partition = slab.attach(options, memory, 0, undo);
  partition.setTick(100);
  return { options, partition, memory, undo, log };
}

function load({ partition, undo }: Owned, user: number, rows: number): void {
  const slot = partition.admitUser(hashUser(user, 0), user, 0);
  const row = new Int32Array(ROW.WORDS);
  for (let channel = 1; channel <= rows; channel++) {
    row[ROW.ENTRY + ENTRY.CHANNEL_LO] = channel;
    row[ROW.ENTRY + ENTRY.VERSION] = channel;
    expect(partition.insertRow(slot, row, 0)).toBe(true);
    undo.commit();
  }
  partition.applyUserRow(slot, rows, 0);
  partition.markComplete(slot);
  undo.commit();
}

/** Runs a unit, takes it back, and runs it again. @returns its stores */
function unit({ options, memory, undo, partition, log }: Owned, work: () => unknown): number {
  const before = meaningOf(options, memory);
  work();
  const stores = undo.pending;
  const stored = undo.storedTo(memory);
  expect(stored.length > 0).toBe(stores > 0);
  new UndoLog(log, [memory]).rollBack();
  expect(before.equals(meaningOf(options, memory)), 'rolled back').toBe(true);
  partition.check();
  partition.checkAround(stored);
  work();
  expect(undo.pending).toBe(stores);
  expect(stores).toBeLessThan(STORES_MAX);
  undo.commit();
  partition.check();
  return stores;
}

describe('the largest units', () => {
  it('room that is not had, however many users are evicted: none of their slots is free before all records are', () => {
    const owned = create();
    for (let user = 1; user <= LARGE.usersMax; user++) load(owned, user, LARGE.recordsMax / LARGE.usersMax);
    // 64 users, and with each as many records are freed as are wanted, and 64 more.
    const stores = unit(owned, () => expect(owned.partition.makeRoom(WANTED_MAX, false)).toBe(false));
    expect(stores).toBeGreaterThan(64 * (WANTED_MAX + 64) * 2);
  });

  it('a bulk ack that creates all its entries, and the flush of its rows and their answer', () => {
    const owned = create();
    const { partition } = owned;
    load(owned, 1, 0);
    const words = new Int32Array(REQUEST_WORDS_MAX);
    words[REQUEST.HEAD] = OP_ACK_BULK;
    words[REQUEST.USER_LO] = 1;
    words[REQUEST.CHANNEL_LO] = BULK_ITEMS_MAX;
    for (let i = 0; i < BULK_ITEMS_MAX; i++) {
      const item = REQUEST.WORDS + i * BULK_ITEM.WORDS;
      words[item + BULK_ITEM.CHANNEL_LO] = i + 1;
      words[item + BULK_ITEM.MESSAGE_LO] = 5;
    }
    const out = new Int32Array(REPLY_WORDS_MAX);
    const stores = unit(owned, () => {
      expect(partition.execute(hashUser(1, 0), words, 0, out, 0, true)).toBe(OUTCOME_DONE);
    });
    expect(stores).toBeGreaterThan(BULK_ITEMS_MAX * 10);
    const group = send(partition);
    owned.undo.commit();
    expect(group[FLUSH.COUNT]).toBe(FLUSH_ROWS_MAX);
    answer(partition, group, true);
    expect(owned.undo.pending).toBeGreaterThan(FLUSH_ROWS_MAX);
  });

  it('the wipe of a large user comes back in several calls', () => {
    const owned = create();
    const { partition } = owned;
    load(owned, 1, ROWS_OF_LARGE);
    const wipe = new Int32Array(IMAGE.WORDS);
    wipe[IMAGE.USER_LO] = 1;
    wipe[IMAGE.USER_VERSION] = 30_001;
    wipe[IMAGE.ROW + ROW.ENTRY + ENTRY.META] = META_WIPE;
    // The rows of later versions stay.
    wipe[IMAGE.ROW + ROW.ENTRY + ENTRY.VERSION] = ROWS_OF_LARGE - 10;
    let calls = 0;
    for (let done = false; !done; calls++) {
      unit(owned, () => {
        done = partition.restoreImage(hashUser(1, 0), wipe, 0);
      });
    }
    expect(calls).toBe(5);
    expect(partition.recordCount).toBe(11);
    expect(partition.versionOf(partition.findUser(hashUser(1, 0), 1, 0))).toBe(30_001);
  });

  it('a deleted user with very many writes on their way', () => {
    const owned = create();
    const { partition, undo } = owned;
    load(owned, 1, 0);
    const groups: Int32Array[] = [];
    const rows = 3000;
    for (let channel = 1; channel <= rows; channel++) {
      run(partition, OP_ACK, 1, channel, channel);
      undo.commit();
    }
    for (let group = send(partition); group.length > 0; group = send(partition)) {
      groups.push(group);
      undo.commit();
    }
    expect(groups.length).toBe(rows / FLUSH_ROWS_MAX);
    unit(owned, () => run(partition, OP_DELETE_USER, 1));
    while (partition.sweep(1000)) undo.commit();
    undo.commit();
    expect(partition.recordCount).toBe(rows);
    let largest = 0;
    for (const group of groups) {
      answer(partition, group, true);
      largest = Math.max(largest, undo.pending);
      undo.commit();
    }
    expect(largest).toBeLessThan(2 * FLUSH_ROWS_MAX);
    while (partition.sweep(1000)) undo.commit();
    expect(partition.recordCount).toBe(0);
    partition.check();
  });
});

it('takes back what a large user has on its way in several calls, and looks at each record a few times', () => {
  const owned = create();
  const { partition, undo } = owned;
  load(owned, 1, 0);
  const ROWS = 30_000;
  for (let channel = 1; channel <= ROWS; channel++) {
    run(partition, OP_ACK, 1, channel, channel);
    undo.commit();
  }
  for (let group = send(partition); group.length > 0; group = send(partition)) undo.commit();
  const looks = vi.spyOn(SlabMemory.prototype, 'recordAt');
  let [from, calls] = [1, 0];
  for (; from !== 0; calls++) {
    from = partition.failFlights(from, 4096);
    expect(undo.pending).toBeLessThan(STORES_MAX);
    undo.commit();
  }
  expect(looks.mock.calls.length).toBeLessThan(20 * ROWS);
  vi.restoreAllMocks();
  expect(calls).toBeGreaterThan(2);
  expect(partition.dirtyUserCount).toBe(1);
  partition.check();
});

describe('an heir', () => {
  it('finds what is broken around the words that a unit had stored to, and looks nowhere else', () => {
    const owned = create(OPTIONS);
    const { options, memory, undo, partition } = owned;
    for (const user of [1, 2, 3, 4, 5]) load(owned, user, 3);
    run(partition, OP_ACK, 1);
    const stored = undo.storedTo(memory);
    undo.rollBack();
    partition.checkAround(stored);
    const words = new Int32Array(memory);
    const layout = new SlabMemory(options, memory, 0, undo);
    const [own, other] = [1, 3].map((slot) => layout.userAt(slot)) as [number, number]; // 2 and 5 are neighbours of 1 in a list
    for (const field of [USER.RECORD_COUNT, USER.IN_FLIGHT, USER.FIRST_RECORD, USER.ID_LO]) {
      for (const at of [own, other]) {
        words[at + field]! ^= 1;
        const look = expect(() => partition.checkAround(stored), `word ${field} of the user at ${at}`);
        if (at === own) look.toThrow();
        else look.not.toThrow();
        words[at + field]! ^= 1;
      }
    }
    const record = layout.recordAt(words[own + USER.FIRST_RECORD]!);
    for (const field of [RECORD.USER_SLOT, RECORD.CHANNEL_LO]) {
      words[record + field]! ^= 2;
      expect(() => partition.checkAround(stored), `word ${field} of the record`).toThrow();
      words[record + field]! ^= 2;
    }
    partition.check();
  });

  it('refuses a partition whose header contradicts itself', () => {
    const { memory, undo } = create(OPTIONS);
    const header = new Int32Array(memory, 0, HEADER.WORDS);
    slab.attach(OPTIONS, memory, 0, undo);
    const broken: [keyof typeof HEADER, number, string][] = [
      ['RECORD_COUNT', 1, 'records in use: 1'],
      ['RECORD_FRESH', OPTIONS.recordsMax + 2, 'records ever used'],
      ['USER_FREE', 5, 'first free user'],
      ['UNSAVED_1', -1, 'users unsaved'],
      ['DIRTY_TAIL', 1, 'end of a list'],
      ['EPOCH', 2, 'epoch: 2'],
    ];
    for (const [name, value, message] of broken) {
      const before = header[HEADER[name]]!;
      header[HEADER[name]] = value;
      expect(() => slab.attach(OPTIONS, memory, 0, undo), name).toThrow(message);
      header[HEADER[name]] = before;
    }
    header[HEADER.USER_FRESH] = 3;
    header[HEADER.ACTIVE_NEWEST] = 1;
    expect(() => slab.attach(OPTIONS, memory, 0, undo)).toThrow('one end');
  });
});
