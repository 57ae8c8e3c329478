/**
 * One of our engines as a side of the benchmark, with the part of a shard played around it: batches, the clock, loads
 * of what is not resident, room, and write-behind. The store answers at once, on the same thread. All of this counts
 * as the engine's work.
 */
import { hashUser, partitionOf } from '../engine/hash.js';
import { assert } from '../engine/layout.js';
import {
  ENTRY,
  FLUSH,
  FLUSH_ROW,
  FLUSHED,
  KIND_FLUSHED,
  OP_MENTION,
  REQUEST,
  ROW,
  STORE_WORDS_MAX,
} from '../engine/messages.js';
import {
  type Engine,
  NO_DUE,
  OUTCOME_DONE,
  OUTCOME_NEEDS_SPACE,
  type Partition,
  type PartitionOptions,
  TOUCH_MAX,
  type UserSlot,
} from '../engine/partition.js';
import { touchPages } from '../engine/slab-memory.js';
import { UndoLog } from '../engine/undo-log.js';
import { allocatePartitions } from '../workers/partition-memory.js';
import type { Side, SideCounts } from './engine-side.js';
import { type Block, REPLY_STRIDE, userHigh } from './engine-stream.js';

/** As in a shard (workers/lane-options.ts, lane-store.ts, lane-waiting.ts). */
const TICK_MS = 100;
const TOUCH_TICKS = 10;
const GROUPS_A_TURN = 32;
const FLUSH_STEPS = 512;
const ROOM_RECORDS = 16;
const SWEEP_RECORDS = 256;
/** Tries to make room before the benchmark gives up. */
const ROOM_ATTEMPTS = 1000;
/** Any number: the user must not go while room is made for it. */
const HOLD = 1;

/** Where rows come from and go to. */
export interface RowStore {
  /** Writes the row of a key to `row` if there is one; the user's versions to `user`. @returns whether there is */
  load(userLo: number, channelLo: number, row: Int32Array, user: UserVersions): boolean;
  /** @param group  a FLUSH message at `at` */
  write(group: Int32Array, at: number): void;
}
export interface UserVersions {
  version: number;
  deletedVersion: number;
}

/** A store that has nothing and keeps nothing, so that only the engine is measured. */
export const emptyStore: RowStore = {
  load: (_userLo, _channelLo, _row, user) => {
    user.version = 0;
    user.deletedVersion = 0;
    return false;
  },
  write: () => {},
};

const WATCHED_MAX = 64;

export interface PartitionsOptions {
  readonly engine: Engine;
  /** A power of two. */
  readonly partitions: number;
  /** Of each partition. */
  readonly recordsMax: number;
  readonly usersMax: number;
  readonly watchedMax?: number;
  /** As a shard has its memory touched before it serves. */
  readonly isTouched?: boolean;
  readonly flushDelayMs: number;
  readonly store: RowStore;
}

export class PartitionsSide implements Side {
  readonly name: string;
  readonly wantsTexts = false;
  readonly counts: SideCounts = { hits: 0, misses: 0, flushedRows: 0 };
  readonly sharedBytes: number;
  readonly #engine: Engine;
  readonly #partitions: Partition[] = [];
  /** As a shard's: each operation, load and group is a unit of work. */
  readonly #undo: UndoLog | null;
  readonly #store: RowStore;
  readonly #batchPartitions: Partition[];
  readonly #batchHashes = new Int32Array(TOUCH_MAX);
  readonly #batchAts = new Int32Array(TOUCH_MAX);
  readonly #batchLikely = new Int32Array(TOUCH_MAX);
  readonly #flush = new Int32Array(STORE_WORDS_MAX);
  readonly #flushed = new Int32Array(STORE_WORDS_MAX);
  readonly #row = new Int32Array(ROW.WORDS);
  readonly #versions: UserVersions = { version: 0, deletedVersion: 0 };
  #clockMs = 0;
  #tick = 0;
  #flushSoon = false;

  constructor(options: PartitionsOptions) {
    this.name = options.engine.name;
    this.#engine = options.engine;
    this.#store = options.store;
    const partitionOptions: PartitionOptions = {
      recordsMax: options.recordsMax,
      usersMax: options.usersMax,
      watchedMax: options.watchedMax ?? WATCHED_MAX,
      lastWrite: false,
      flushDelayTicks: Math.ceil(options.flushDelayMs / TICK_MS),
      retryFirstTicks: 1,
      retryMaxTicks: 1,
      touchTicks: TOUCH_TICKS,
    };
    const bytes = options.engine.sharedBytes(partitionOptions);
    const places = bytes === 0 ? [] : allocatePartitions(options.partitions, partitionOptions);
    const memories = [...new Set(places.map(({ memory }) => memory))];
    const undo = bytes === 0 ? null : new UndoLog(new SharedArrayBuffer(UndoLog.bytes()), memories);
    this.#undo = undo;
    for (let i = 0; i < options.partitions; i++) {
      const { memory, byteOffset } = places[i] ?? { memory: null, byteOffset: 0 };
      if (options.isTouched === true && memory !== null) touchPages(partitionOptions, memory, byteOffset);
      this.#partitions.push(options.engine.attach(partitionOptions, memory, byteOffset, undo ?? undefined));
    }
    this.sharedBytes = bytes * options.partitions;
    this.#batchPartitions = new Array(TOUCH_MAX).fill(this.#partitions[0]!);
  }

  get recordCount(): number {
    return this.#partitions.reduce((sum, partition) => sum + partition.recordCount, 0);
  }

  setClockMs(ms: number): void {
    this.#clockMs = ms;
    this.#setTick(Math.floor(ms / TICK_MS));
  }

  #setTick(tick: number): void {
    this.#tick = tick;
    for (const partition of this.#partitions) partition.setTick(tick);
  }

  #partitionOf(hash: number): Partition {
    return this.#partitions[partitionOf(hash, this.#partitions.length)]!;
  }

  loadUser(userLo: number, rows: Int32Array, count: number): void {
    const hash = hashUser(userLo, userHigh);
    const partition = this.#partitionOf(hash);
    const user = this.#admit(partition, hash, userLo);
    for (let i = 0; i < count; i++) this.#insertRow(partition, user, rows, i * ROW.WORDS);
    partition.applyUserRow(user, count, 0);
    this.#undo?.commit();
  }

  #admit(partition: Partition, hash: number, userLo: number): UserSlot {
    let user = partition.admitUser(hash, userLo, userHigh);
    if (user === 0) {
      this.#makeRoom(partition, 0, false);
      user = partition.admitUser(hash, userLo, userHigh);
    }
    assert(user !== 0, 'no room for a user');
    return user;
  }

  #insertRow(partition: Partition, user: UserSlot, words: Int32Array, at: number): void {
    if (partition.insertRow(user, words, at)) return;
    this.#makeRoom(partition, user, false);
    assert(partition.insertRow(user, words, at), 'no room for a row');
  }

  run(block: Block, batched: boolean): void {
    const start = performance.now();
    const clockMs = this.#clockMs;
    const { words, hashes, replies } = block;
    for (let from = 0; from < block.count; from += TOUCH_MAX) {
      const count = Math.min(TOUCH_MAX, block.count - from);
      this.#clockMs = clockMs + performance.now() - start;
      const ticked = this.#turnClock();
      for (let i = 0; i < count; i++) {
        const hash = hashes[from + i]!;
        this.#batchPartitions[i] = this.#partitionOf(hash);
        this.#batchHashes[i] = hash;
        this.#batchAts[i] = (from + i) * REQUEST.WORDS;
      }
      if (batched) {
        this.#engine.touch(
          this.#batchPartitions,
          this.#batchHashes,
          words,
          this.#batchAts,
          count,
          this.#batchLikely,
        );
      }
      for (let i = 0; i < count; i++) {
        const partition = this.#batchPartitions[i]!;
        const hash = this.#batchHashes[i]!;
        const at = this.#batchAts[i]!;
        const replyAt = (from + i) * REPLY_STRIDE;
        const likely = batched ? this.#batchLikely[i]! : 0;
        const outcome = partition.execute(hash, words, at, replies, replyAt, false, likely);
        if (outcome === OUTCOME_DONE) this.counts.hits++;
        else this.#runMiss(partition, hash, words, at, replies, replyAt);
        this.#undo?.commit();
      }
      if (ticked || this.#flushSoon) this.#flushDue();
    }
    this.#clockMs = clockMs + performance.now() - start;
  }

  /** @returns whether a new tick has begun */
  #turnClock(): boolean {
    const tick = Math.floor(this.#clockMs / TICK_MS);
    if (tick === this.#tick) return false;
    this.#setTick(tick);
    for (const partition of this.#partitions) {
      partition.sweep(SWEEP_RECORDS);
      this.#undo?.commit();
    }
    return true;
  }

  #runMiss(
    partition: Partition,
    hash: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
  ): void {
    this.counts.misses++;
    const userLo = words[at + REQUEST.USER_LO]!;
    const channelLo = words[at + REQUEST.CHANNEL_LO]!;
    const user = this.#admit(partition, hash, userLo);
    const found = this.#store.load(userLo, channelLo, this.#row, this.#versions);
    if (found) this.#insertRow(partition, user, this.#row, 0);
    partition.applyUserRow(user, this.#versions.version, this.#versions.deletedVersion);
    let outcome = partition.execute(hash, words, at, out, outAt, true);
    if (outcome === OUTCOME_NEEDS_SPACE) {
      this.#makeRoom(partition, user, (words[at + REQUEST.HEAD]! & 0xff) === OP_MENTION);
      outcome = partition.execute(hash, words, at, out, outAt, true);
    }
    assert(outcome === OUTCOME_DONE, `outcome ${outcome} after a load, with room`);
  }

  /** Room for a record and a user, and some more, so that the next miss finds some. @param user  who needs it, or 0 */
  #makeRoom(partition: Partition, user: UserSlot, forMention: boolean): void {
    if (user !== 0) partition.setHold(user, HOLD);
    const records = 1 + Math.min(ROOM_RECORDS, partition.options.recordsMax >>> 4);
    for (let attempt = 0; !partition.makeRoom(records, forMention && attempt < 2); attempt++) {
      assert(attempt < ROOM_ATTEMPTS, `no room for ${records} records after ${attempt} attempts`);
      this.#flushPartition(partition, GROUPS_A_TURN);
    }
    this.#flushSoon = true;
    if (user !== 0) partition.setHold(user, 0);
  }

  #flushDue(): void {
    let budget = GROUPS_A_TURN;
    for (const partition of this.#partitions) budget = this.#flushPartition(partition, budget);
    this.#flushSoon = budget <= 0;
  }

  /** @returns what is left of the budget */
  #flushPartition(partition: Partition, budget: number): number {
    let left = budget;
    while (left > 0) {
      const due = partition.nextDue();
      if (due === NO_DUE || ((due - this.#tick) | 0) > 0) break;
      left--;
      if (partition.flushNext(this.#flush, 0, FLUSH_STEPS, false) > 0) this.#confirm(partition);
      this.#undo?.commit();
    }
    return left;
  }

  #confirm(partition: Partition): void {
    const group = this.#flush;
    const answer = this.#flushed;
    this.#store.write(group, 0);
    const count = group[FLUSH.COUNT]!;
    answer[FLUSHED.KIND] = (group[FLUSH.KIND]! & ~0xff) | KIND_FLUSHED;
    answer[FLUSHED.USER_SLOT] = group[FLUSH.USER_SLOT]!;
    answer[FLUSHED.COUNT] = count;
    for (let i = 0; i < count; i++) {
      answer[FLUSHED.WORDS + i] = group[FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.SLOT]!;
    }
    partition.flushed(answer, 0, true);
    this.counts.flushedRows += count;
  }
}

/** A store that keeps what is written: with it the answers do not depend on what was evicted. */
export class RememberingStore implements RowStore {
  readonly #rows = new Map<string, Int32Array>();
  readonly #users = new Map<number, UserVersions>();

  load(userLo: number, channelLo: number, row: Int32Array, user: UserVersions): boolean {
    const versions = this.#users.get(userLo);
    user.version = versions?.version ?? 0;
    user.deletedVersion = versions?.deletedVersion ?? 0;
    const found = this.#rows.get(`${userLo}:${channelLo}`);
    if (found !== undefined) row.set(found);
    return found !== undefined;
  }

  /** What was there before the first operation. */
  put(userLo: number, rows: Int32Array, count: number): void {
    this.#users.set(userLo, { version: count, deletedVersion: 0 });
    for (let at = 0; at < count * ROW.WORDS; at += ROW.WORDS) this.#putRow(userLo, rows, at);
  }

  write(group: Int32Array, at: number): void {
    const userLo = group[at + FLUSH.USER_LO]!;
    this.#users.set(userLo, {
      version: group[at + FLUSH.VERSION]!,
      deletedVersion: group[at + FLUSH.DELETED_VERSION]!,
    });
    for (let i = 0; i < group[at + FLUSH.COUNT]!; i++) {
      this.#putRow(userLo, group, at + FLUSH.WORDS + i * FLUSH_ROW.WORDS + FLUSH_ROW.ROW);
    }
  }

  #putRow(userLo: number, words: Int32Array, at: number): void {
    this.#rows.set(`${userLo}:${words[at + ENTRY.CHANNEL_LO]}`, words.slice(at, at + ROW.WORDS));
  }
}
