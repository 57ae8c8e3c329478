/**
 * The persister: takes loads and flushes of all shards from their rings to the store, and the answers back. It has
 * an event loop and a thread of its own (persister-thread.ts); nothing here blocks.
 *
 * I1  Each shard has its own bounds, for loads and for rows to be written. What is beyond them stays in its ring,
 *     and a full ring is what the shard sees. So neither do loads starve flushes, nor one shard another.
 * I2  One call of the store's `write` is in work at a time, and takes groups in the order in which the rings gave
 *     them. A user belongs to one shard, so two groups of one user are never written out of order. Meanwhile the
 *     next groups gather: the busier the store, the larger the batch.
 * I3  Every message is answered once: when the answers ring is full, the answer waits for room. The place that
 *     `reserve` gives is filled before anything else runs.
 * I4  Asleep (doorbell) means: no ring has anything that could be taken. What is in work wakes the persister itself.
 */
import { setTimeout } from 'node:timers/promises';
import type { MessagePort } from 'node:worker_threads';
import { Doorbell } from '../engine/doorbell.js';
import { assert } from '../engine/layout.js';
import {
  FLUSH,
  FLUSH_ROW,
  FLUSH_WIPE,
  FLUSHED,
  KIND_FLUSH,
  KIND_FLUSHED,
  KIND_LOAD_ROWS,
  KIND_LOAD_USER,
  KIND_LOADED,
  LOAD,
  LOAD_PART_ROWS,
  LOADED,
  LOADED_LAST,
  ROW,
  STATUS_OK,
  STATUS_STORE_UNAVAILABLE,
  STORE_WORDS_MAX,
} from '../engine/messages.js';
import { RingReader, RingWriter } from '../engine/ring.js';
import { PERSISTER_STATS } from './stats.js';
import type { Store, UserRow, WriteGroup } from './stores/store.js';

/** The rings between one shard and the persister. */
export interface PersisterShard {
  /** LOAD messages; the shard is the producer. */
  readonly loads: SharedArrayBuffer;
  /** FLUSH messages; the shard is the producer. */
  readonly flushes: SharedArrayBuffer;
  /** LOADED and FLUSHED messages; the shard is the consumer. At least 8,192 words. */
  readonly answers: SharedArrayBuffer;
  /** The shard's; rung after each publish to `answers`. The shard waits by `Atomics.wait`. */
  readonly doorbell: SharedArrayBuffer;
}

/** What a persister thread is started with. */
export interface PersisterOptions {
  /** As in `--store`; see stores/open.ts. */
  readonly store: string;
  readonly shards: readonly PersisterShard[];
  /** The persister's own; shards ring it after publishing, with a post to one of `ports` as the wake-up. */
  readonly doorbell: SharedArrayBuffer;
  /** One block of PERSISTER_STATS. */
  readonly stats: SharedArrayBuffer;
  /** The starter's end: see PersisterOrder and PersisterReport. Must be in the transfer list. */
  readonly port: MessagePort;
  /** The shards' ends: any message is a wake-up, and `{stop: true}` stops, too. Must be in the transfer list. */
  readonly ports: readonly MessagePort[];
  /** Switchable faults of a `memory:` store (stores/memory.ts), for tests. */
  readonly faults?: SharedArrayBuffer;
}

/** To the persister. Anything else is a wake-up. */
export interface PersisterOrder {
  /**
   * Finish all that is in the rings and in work, close the store, end the task. The shards must have stopped
   * producing, and must still take answers.
   */
  readonly stop: true;
}

/**
 * From the persister on `port`. First, once: the store is open, or why it is not (the task then returns). Later,
 * at most once a second: what the store complained about, for the log.
 */
export type PersisterReport =
  | { readonly ready: true }
  | { readonly error: string }
  | { readonly warning: string };

/** The smallest answers ring (a power of two): a message is at most half of it, and two should fit. */
const ANSWERS_WORDS_MIN = 8192;
assert(
  (STORE_WORDS_MAX + 1) * 4 <= ANSWERS_WORDS_MIN,
  `answers of ${STORE_WORDS_MAX} words and a ring of 8192`,
);

/**
 * Loads of one shard in work. LMDB answers each within one turn of the event loop, so there they bound the turn;
 * at 2 ms a query, as over a network, they still allow 32,000 loads/s from each shard.
 */
export const LOADS_MAX = 64;

/**
 * Rows in one call of the store's `write`; a group counts its user row, too. LMDB (stores/lmdb.ts) gains little from
 * more: 4,096 groups of one row are written at 31,000 rows/s in 133 ms, 10,000 at 32,000 rows/s in 316 ms.
 */
export const BATCH_ROWS_MAX = 8192;

/** Rows of one shard that are taken and not answered: a batch being written, and the next one. */
export const SHARD_ROWS_MAX = 2 * BATCH_ROWS_MAX;

/** How long an answer without room waits before it looks again. */
const ROOM_POLL_MS = 1;

/** A shard that takes no answer for so long after a stop was ordered is dead. */
const STOP_PATIENCE_MS = 10_000;

const WARNING_INTERVAL_MS = 1000;

/** The persister's ends of one shard's rings. */
class ShardEnd {
  readonly loads: RingReader;
  readonly flushes: RingReader;
  readonly answers: RingWriter;
  readonly #doorbell: Doorbell;
  #publishes = false;
  #room: Promise<void> | null = null;
  loadsInWork = 0;
  rowsInWork = 0;

  constructor(shard: PersisterShard) {
    this.loads = new RingReader(shard.loads);
    this.flushes = new RingReader(shard.flushes);
    this.answers = new RingWriter(shard.answers);
    this.#doorbell = new Doorbell(shard.doorbell);
    assert(
      this.answers.capacity >= ANSWERS_WORDS_MIN,
      `an answers ring of ${this.answers.capacity} words is smaller than ${ANSWERS_WORDS_MIN}`,
    );
  }

  /** Makes the answers visible when what runs now has ended: a batch of them wakes the shard once. */
  publishSoon(): void {
    if (this.#publishes) return;
    this.#publishes = true;
    queueMicrotask(() => this.publish());
  }

  publish(): void {
    this.#publishes = false;
    this.answers.publish();
    this.#doorbell.ring();
  }

  /** Ends when it is worth looking for room in the answers ring again. */
  room(): Promise<void> {
    this.publish();
    this.#room ??= setTimeout(ROOM_POLL_MS).then(() => {
      this.#room = null;
    });
    return this.#room;
  }

  get isIdle(): boolean {
    const { loadsInWork, rowsInWork, loads, flushes } = this;
    return loadsInWork === 0 && rowsInWork === 0 && !loads.refresh() && !flushes.refresh();
  }

  get hasWork(): boolean {
    return (
      (this.loadsInWork < LOADS_MAX && this.loads.refresh()) ||
      (this.rowsInWork < SHARD_ROWS_MAX && this.flushes.refresh())
    );
  }
}

/** A group on its way to the store, with what its answer needs. */
interface Group extends WriteGroup {
  readonly shard: ShardEnd;
  readonly head: number;
  readonly partition: number;
  readonly userSlot: number;
  readonly slots: Int32Array;
}

export class Persister {
  readonly #store: Store;
  readonly #shards: readonly ShardEnd[];
  readonly #doorbell: Doorbell;
  readonly #stats: Float64Array;
  readonly #warn: (text: string) => void;
  #nextWarningMs = 0;
  /** Taken and not yet given to the store, in order. */
  #gathered: Group[] = [];
  #writes = false;
  /** The shard that is looked at first. */
  #turn = 0;
  #pumpsSoon = false;
  #stopOrderedMs = Number.POSITIVE_INFINITY;
  #end: () => void = () => {};
  #fail: (error: unknown) => void = () => {};
  /** Resolves when all is done after `stop`; rejects on a bug or when a shard takes no answers any more. */
  readonly ended: Promise<void>;
  /** Parts of loads, to be used again. */
  readonly #parts: Int32Array[] = [];

  /**
   * @param store  open; the caller closes it after `ended`
   * @param warn   is told of failures of the store, at most one a second
   */
  constructor(
    store: Store,
    options: Pick<PersisterOptions, 'shards' | 'doorbell' | 'stats'>,
    warn: (text: string) => void = () => {},
  ) {
    this.#store = store;
    this.#shards = options.shards.map((shard) => new ShardEnd(shard));
    this.#doorbell = new Doorbell(options.doorbell);
    this.#stats = new Float64Array(options.stats);
    this.#warn = warn;
    this.ended = new Promise((resolve, reject) => {
      this.#end = resolve;
      this.#fail = reject;
    });
  }

  /** Looks at the rings. To be called once at the start and for each wake-up. */
  wake(): void {
    try {
      this.#pump();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Finishes everything, then `ended` resolves. */
  stop(): void {
    if (this.#stopOrderedMs === Number.POSITIVE_INFINITY) this.#stopOrderedMs = performance.now();
    this.wake();
  }

  /** As `wake`, after whatever else the event loop has to do: work that ends at once must not keep it for itself. */
  #wakeSoon(): void {
    if (this.#pumpsSoon) return;
    this.#pumpsSoon = true;
    setImmediate(() => {
      this.#pumpsSoon = false;
      this.wake();
    });
  }

  #pump(): void {
    this.#doorbell.rise();
    do {
      this.#takeLoads();
      this.#takeFlushes();
      this.#startWrite();
      this.#doorbell.sleep();
    } while (this.#shards.some((shard) => shard.hasWork)); // I4; ends, for the bounds do
    if (this.#stopOrderedMs < Number.POSITIVE_INFINITY && this.#shards.every((shard) => shard.isIdle)) {
      for (const shard of this.#shards) shard.publish();
      this.#end();
    }
  }

  /** Calls `take` for shard after shard, one message each, until none has any more that may be taken. */
  #takeInTurn(take: (shard: ShardEnd) => boolean): void {
    const shards = this.#shards;
    for (let without = 0; without < shards.length; ) {
      const shard = shards[this.#turn]!;
      this.#turn = (this.#turn + 1) % shards.length;
      without = take(shard) ? 0 : without + 1;
    }
  }

  #takeLoads(): void {
    this.#takeInTurn((shard) => {
      if (shard.loadsInWork >= LOADS_MAX || !shard.loads.refresh()) return false;
      const at = shard.loads.next();
      if (at < 0) return false;
      const { words, length } = shard.loads;
      const message = words.slice(at, at + length);
      shard.loads.release();
      shard.loadsInWork++;
      this.#load(shard, message).catch(this.#fail);
      return true;
    });
    this.#stats[PERSISTER_STATS.LOADS_IN_FLIGHT] = this.#shards.reduce(
      (sum, shard) => sum + shard.loadsInWork,
      0,
    );
  }

  async #load(shard: ShardEnd, message: Int32Array): Promise<void> {
    const startedMs = performance.now();
    const stats = this.#stats;
    const kind = message[LOAD.KIND]! & 0xff;
    const tag = message[LOAD.TAG]!;
    const lo = message[LOAD.USER_LO]!;
    const hi = message[LOAD.USER_HI]!;
    const count = message[LOAD.COUNT]!;
    assert(kind === KIND_LOAD_USER || kind === KIND_LOAD_ROWS, `message of kind ${kind} in a loads ring`);
    // A part is held back until it is known whether another follows: most users are one message.
    const part = this.#parts.pop() ?? new Int32Array(LOAD_PART_ROWS * ROW.WORDS);
    let partRows = 0;
    const sink = async (rows: Int32Array, rowCount: number): Promise<void> => {
      if (partRows > 0) await this.#answerLoad(shard, tag, 0, null, part, partRows);
      part.set(rows.subarray(0, rowCount * ROW.WORDS));
      partRows = rowCount;
      stats[PERSISTER_STATS.LOADED_ROWS]! += rowCount;
    };
    let head = LOADED_LAST | (STATUS_OK << 8);
    let userRow: UserRow | null = null;
    try {
      userRow =
        kind === KIND_LOAD_USER
          ? await this.#store.loadUser(lo, hi, sink)
          : await this.#store.loadRows(lo, hi, message.subarray(LOAD.WORDS), count, sink);
    } catch (error) {
      head = LOADED_LAST | (STATUS_STORE_UNAVAILABLE << 8);
      partRows = 0;
      stats[PERSISTER_STATS.LOAD_FAILURES]!++;
      this.#complain(error);
    }
    await this.#answerLoad(shard, tag, head, userRow, part, partRows);
    this.#parts.push(part);
    stats[PERSISTER_STATS.LOADS]!++;
    stats[PERSISTER_STATS.LOAD_SECONDS_SUM]! += (performance.now() - startedMs) / 1000;
    shard.loadsInWork--;
    this.#wakeSoon();
  }

  /** @param userRow  null: not known yet (both versions are 0), or never (an error) */
  async #answerLoad(
    shard: ShardEnd,
    tag: number,
    head: number,
    userRow: UserRow | null,
    rows: Int32Array,
    count: number,
  ): Promise<void> {
    const { answers } = shard;
    const length = LOADED.WORDS + count * ROW.WORDS;
    let at = answers.reserve(length);
    while (at < 0) {
      await this.#room(shard);
      at = answers.reserve(length);
    }
    const { words } = answers;
    words[at + LOADED.KIND] = KIND_LOADED | head;
    words[at + LOADED.TAG] = tag;
    words[at + LOADED.VERSION] = userRow?.version ?? 0;
    words[at + LOADED.DELETED_VERSION] = userRow?.deletedVersion ?? 0;
    words[at + LOADED.COUNT] = count;
    words.set(rows.subarray(0, count * ROW.WORDS), at + LOADED.WORDS);
    answers.commit(length);
    shard.publishSoon();
  }

  #takeFlushes(): void {
    this.#takeInTurn((shard) => {
      if (shard.rowsInWork >= SHARD_ROWS_MAX || !shard.flushes.refresh()) return false;
      const at = shard.flushes.next();
      if (at < 0) return false;
      const group = copyGroup(shard, at);
      shard.flushes.release();
      shard.rowsInWork += group.count + 1;
      this.#gathered.push(group);
      return true;
    });
    this.#showWrites();
  }

  #showWrites(): void {
    this.#stats[PERSISTER_STATS.WRITES_IN_FLIGHT] = this.#gathered.length + this.#groupsWritten;
  }

  /** Groups that the store has now. */
  #groupsWritten = 0;

  #startWrite(): void {
    if (this.#writes || this.#gathered.length === 0) return;
    let rows = 0;
    let count = 0;
    while (count < this.#gathered.length && rows < BATCH_ROWS_MAX) rows += this.#gathered[count++]!.count + 1;
    const batch = this.#gathered.splice(0, count);
    this.#writes = true;
    this.#groupsWritten = count;
    this.#write(batch).catch(this.#fail);
  }

  async #write(batch: readonly Group[]): Promise<void> {
    const startedMs = performance.now();
    const stats = this.#stats;
    const errors = await this.#store.write(batch);
    assert(errors.length === batch.length, `${errors.length} results of ${batch.length} groups`);
    stats[PERSISTER_STATS.WRITE_BATCHES]!++;
    stats[PERSISTER_STATS.WRITE_SECONDS_SUM]! += (performance.now() - startedMs) / 1000;
    this.#writes = false;
    this.#groupsWritten = 0;
    this.#startWrite(); // the store does not wait for the answers
    this.#showWrites();
    batch.forEach((group, index) => {
      const error = errors[index]!;
      if (error === null) {
        stats[PERSISTER_STATS.WRITTEN_GROUPS]!++;
        stats[PERSISTER_STATS.WRITTEN_ROWS]! += group.count;
      } else {
        stats[PERSISTER_STATS.WRITE_FAILURES]!++;
        this.#complain(error);
      }
      this.#answerFlush(group, error === null ? STATUS_OK : STATUS_STORE_UNAVAILABLE).catch(this.#fail);
    });
    this.#wakeSoon();
  }

  async #answerFlush(group: Group, status: number): Promise<void> {
    const { shard, slots } = group;
    const { answers } = shard;
    const length = FLUSHED.WORDS + slots.length;
    let at = answers.reserve(length);
    while (at < 0) {
      await this.#room(shard);
      at = answers.reserve(length);
    }
    const { words } = answers;
    words[at + FLUSHED.KIND] = KIND_FLUSHED | (status << 8) | group.head;
    words[at + FLUSHED.PARTITION] = group.partition;
    words[at + FLUSHED.USER_SLOT] = group.userSlot;
    words[at + FLUSHED.COUNT] = slots.length;
    words.set(slots, at + FLUSHED.WORDS);
    answers.commit(length);
    shard.publishSoon();
    shard.rowsInWork -= group.count + 1;
    this.#wakeSoon();
  }

  async #room(shard: ShardEnd): Promise<void> {
    await shard.room();
    if (performance.now() - this.#stopOrderedMs > STOP_PATIENCE_MS) {
      throw new Error(`a shard has taken no answers for ${STOP_PATIENCE_MS} ms after the stop`);
    }
  }

  #complain(error: unknown): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextWarningMs) return;
    this.#nextWarningMs = nowMs + WARNING_INTERVAL_MS;
    this.#warn(error instanceof Error ? error.message : String(error));
  }
}

/** The FLUSH message at `words[at]` of the shard's ring, whose place is then free. */
function copyGroup(shard: ShardEnd, at: number): Group {
  const { words, length } = shard.flushes;
  const head = words[at + FLUSH.KIND]!;
  const count = words[at + FLUSH.COUNT]!;
  assert((head & 0xff) === KIND_FLUSH, `message of kind ${head & 0xff} in a flushes ring`);
  assert(length === FLUSH.WORDS + count * FLUSH_ROW.WORDS, `flush of ${count} rows in ${length} words`);
  const rows = new Int32Array(count * ROW.WORDS);
  const slots = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const from = at + FLUSH.WORDS + i * FLUSH_ROW.WORDS;
    slots[i] = words[from + FLUSH_ROW.SLOT]!;
    for (let word = 0; word < ROW.WORDS; word++) {
      rows[i * ROW.WORDS + word] = words[from + FLUSH_ROW.ROW + word]!;
    }
  }
  return {
    shard,
    head: head & ~0xffff,
    partition: words[at + FLUSH.PARTITION]!,
    userSlot: words[at + FLUSH.USER_SLOT]!,
    slots,
    userLo: words[at + FLUSH.USER_LO]!,
    userHi: words[at + FLUSH.USER_HI]!,
    version: words[at + FLUSH.VERSION]!,
    deletedVersion: words[at + FLUSH.DELETED_VERSION]!,
    clockLo: words[at + FLUSH.CLOCK_LO]!,
    clockHi: words[at + FLUSH.CLOCK_HI]!,
    wipe: (head & FLUSH_WIPE) !== 0,
    rows,
    count,
  };
}
