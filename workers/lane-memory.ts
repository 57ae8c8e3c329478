/**
 * What of a lane outlives a turn, in shared memory, so that any thread can attach the lane and go on where the last
 * one stopped: no operation that waits, no load on its way and no counter is lost, and nothing is copied.
 *
 *     | LANE | lobby users | LANE_PARTITION of each | HOLD of each | ready | waiting | heads | tails | blocks |
 *
 * Owner: the thread that runs the lane. Partitions are numbered as in the service, so that those of others have their
 * words here, too, and never use them.
 *
 * I1  All stores into these words go through `put`, so that a unit of work that a thread left half done can be taken
 *     back (engine/undo-log.ts); but for those of a new lane, AT_WORK and IN_TURN.
 * I2  Slots (holds, blocks) from FRESH on were never used; a used one is in use or in its free list, never both.
 */
import { assert, layout } from '../engine/layout.js';
import { REQUEST_WORDS_MAX, ROUTED } from '../engine/messages.js';
import { OwnWords, type StoredWords, type UndoLog, type Words } from '../engine/undo-log.js';
import { WAIT } from './introspection/slow-log.js';

/** Grows when a thread of an older build could no longer go on with a lane. */
export const LANE_LAYOUT_VERSION = 5;

/** The head of a lane's memory. */
export const LANE = layout({
  LAYOUT_VERSION: 1, // 0 = a new lane
  PARTITIONS: 1, // of the service
  HOLDS_MAX: 1,
  BLOCKS_MAX: 1,
  READY: 1, // 1: what was there before the service is back, and another thread may go on with the lane
  TICK: 1,
  STOPPING: 1, // 1: a stop was ordered
  FLUSH_ORDERED: 1, // 1: what is due by FLUSH_UNTIL is due now
  FLUSH_UNTIL: 1,
  WRITE_FAILURES: 1, // writes that have failed in a row, whoever's
  BACKOFF_UNTIL: 1, // a stop forces no write before this tick
  REQUESTS_DONE: 1, // position in the request ring up to which operations have been run
  ANSWERS_DONE: 1, // position in the ring of the store's answers up to which they have been taken
  REPLIES_TAIL: 1, // position in the reply ring up to which units of work that are done have written
  LOADS_TAIL: 1, // the same of the load ring
  FLUSHES_TAIL: 1, // the same of the flush ring
  AT_WORK: 1, // 1 while the operation at REQUESTS_DONE runs; outside of the undo log
  DIED_AT: 1, // REQUESTS_DONE when a thread last ended while it ran that operation
  DEATHS: 1, // threads in a row that ended at DIED_AT
  LOBBY_COUNT: 1, // operations in all lobbies
  WARMING_COUNT: 1, // holds with HOLD.WARMING
  WARMED: 1, // words of the list of hot users that are done
  HOLD_COUNT: 1, // holds in use
  HOLD_FREE: 1, // head of the free list
  HOLD_FRESH: 1, // first hold never used
  PARKED: 1, // operations that wait
  BLOCK_COUNT: 1, // blocks in use
  BLOCK_FREE: 1,
  BLOCK_FRESH: 1,
  READY_HEAD: 1,
  READY_COUNT: 1,
  WAITING_HEAD: 1,
  WAITING_COUNT: 1,
  RECALLED: 1, // partitions whose flights have been failed after the end of a persister; see lane-recall.ts
  RECALL_FROM: 1, // the next one's user slot to go on from
  IN_TURN: 1, // 1 while the lane has its turn; outside of the undo log
  RESERVED: 12, // to a whole number of cache lines
});
assert(LANE.WORDS === 48, `the head of a lane has ${LANE.WORDS} words, not 48`);

/** What a lane notes of one of its partitions. */
export const LANE_PARTITION = layout({
  LOBBY_SINCE: 1, // tick at which somebody last left its lobby for room, or came back to it
  OLDER_COUNT: 1, // groups on their way, in two generations; see UnsavedAges
  OLDER_SINCE: 1,
  YOUNGER_COUNT: 1,
  YOUNGER_SINCE: 1,
  FAILED: 1, // 1: FAILED_SINCE and FAILED_TICK are set
  FAILED_SINCE: 1, // tick of the oldest change among those whose writes failed
  FAILED_TICK: 1, // tick of the latest failure
  RELOADS: 1, // 1: it was broken, was emptied or is to be, and does not serve yet; see lane-reload.ts
});

/** What the requests of one user wait for; see holds.ts. */
export const HOLD = layout({
  KIND: 1, // HOLD_* of holds.ts, 0 = free
  PARTITION: 1,
  USER: 1, // slot
  DEADLINE: 1, // tick at which waiting ends in an error
  SINCE_US: 1, // when the first operation began to wait for what it waits for now, on the shared clock
  OVERFLOWED: 1, // 1: the load met a full partition, not all of the user's rows are resident
  ROWS_KNOWN: 1, // 1: the rows that the first operation names have been loaded, what is not resident does not exist
  MENTIONS: 1, // sums of a badge that is read from the store
  MENTIONED: 1,
  WRITTEN: 1, // entries of the list at hand that are on their way to the front
  STREAMED: 1, // rows of the list at hand that were taken of a streamed load
  SKIPS: 1, // of its rows, so many come again
  WARMING: 1, // 1: the load was asked for by nobody, see warm/hot-loader.ts
  GENERATION: 1, // part of the tag of its loads
  NEXT: 1, // in a free hold: the next free one
  RESERVED: 1, // a hold is a cache line
});
assert(HOLD.WORDS === 16, `a hold has ${HOLD.WORDS} words, not 16`);

/** A piece of an operation that waits; see parking.ts. */
export const BLOCK = layout({
  NEXT_OPERATION: 1, // first block of the next operation of the queue, 0 ends
  NEXT_BLOCK: 1, // next block of this operation, 0 ends; in a free block: next free block
  LENGTH: 1, // words of the operation, in its first block
  SINCE: 1, // tick at which it began to wait, in its first block
  WAITS: WAIT.WORDS, // what it has waited for, in its first block
  PAYLOAD: 13,
});

/** A power of two. One that shares its bucket with a waiting user waits behind it, needlessly. */
export const LOBBY_BUCKETS = 4096;

export interface LaneSizes {
  /** Of the service. */
  readonly partitions: number;
  readonly holdsMax: number;
  readonly blocksMax: number;
}

/** The longest operation, as it waits. */
export const OPERATION_WORDS_MAX = ROUTED.WORDS + REQUEST_WORDS_MAX;

/** Word offsets of the regions. */
function regionsOf({ partitions, holdsMax, blocksMax }: LaneSizes) {
  const lobbyUsers = LANE.WORDS;
  const ofPartitions = lobbyUsers + LOBBY_BUCKETS;
  const holds = ofPartitions + partitions * LANE_PARTITION.WORDS;
  const ready = holds + (holdsMax + 1) * HOLD.WORDS;
  const waiting = ready + holdsMax + 1;
  const queues = queuesOf(holdsMax, partitions);
  const heads = waiting + holdsMax + 1;
  const tails = heads + queues;
  const blocks = tails + queues;
  return {
    lobbyUsers,
    ofPartitions,
    holds,
    ready,
    waiting,
    heads,
    tails,
    blocks,
    end: blocks + (blocksMax + 1) * BLOCK.WORDS,
  };
}

/** A queue of operations for each hold (from 1) and for the lobby of each partition. */
function queuesOf(holdsMax: number, partitions: number): number {
  return holdsMax + 1 + partitions;
}

export function createLaneMemory(sizes: LaneSizes): SharedArrayBuffer {
  return new SharedArrayBuffer(regionsOf(sizes).end * Int32Array.BYTES_PER_ELEMENT);
}

export class LaneMemory {
  readonly words: Words;
  readonly regions: ReturnType<typeof regionsOf>;
  readonly #stored: StoredWords;
  readonly #plain: Int32Array;

  /**
   * @param memory  zeroed, or what an earlier owner left, its log rolled back
   * @param undo    left out, nothing can be taken back
   */
  constructor(
    memory: SharedArrayBuffer,
    readonly sizes: LaneSizes,
    undo?: UndoLog,
  ) {
    this.regions = regionsOf(sizes);
    const words = new Int32Array(memory);
    this.#plain = words;
    this.#stored = undo?.of(memory) ?? new OwnWords(words);
    this.words = this.#stored.words;
    assert(words.length === this.regions.end, `${words.length} words of a lane, not ${this.regions.end}`);
    if (words[LANE.LAYOUT_VERSION] === 0) {
      words[LANE.LAYOUT_VERSION] = LANE_LAYOUT_VERSION;
      words[LANE.PARTITIONS] = sizes.partitions;
      words[LANE.HOLDS_MAX] = sizes.holdsMax;
      words[LANE.BLOCKS_MAX] = sizes.blocksMax;
      words[LANE.HOLD_FRESH] = 1;
      words[LANE.BLOCK_FRESH] = 1;
    }
    const found = words[LANE.LAYOUT_VERSION];
    assert(found === LANE_LAYOUT_VERSION, `a lane of layout version ${found}, not ${LANE_LAYOUT_VERSION}`);
    assert(
      words[LANE.PARTITIONS] === sizes.partitions &&
        words[LANE.HOLDS_MAX] === sizes.holdsMax &&
        words[LANE.BLOCKS_MAX] === sizes.blocksMax,
      'a lane of other sizes',
    );
  }

  get(at: number): number {
    return this.words[at]!;
  }

  /** I1 */
  put(at: number, value: number): void {
    this.#stored.put(at, value);
  }

  /** The operation at REQUESTS_DONE is being run, or (0) is done: a thread that ends in it leaves this behind. */
  setAtWork(isAtWork: 0 | 1): void {
    this.#plain[LANE.AT_WORK] = isAtWork;
  }

  /** The lane has its turn, or (0) it has not: as `setAtWork`. */
  setInTurn(isInTurn: 0 | 1): void {
    this.#plain[LANE.IN_TURN] = isInTurn;
  }

  add(at: number, change: number): void {
    this.put(at, this.words[at]! + change);
  }

  /** Where the LANE_PARTITION words of a partition begin. */
  partitionAt(partition: number): number {
    return this.regions.ofPartitions + partition * LANE_PARTITION.WORDS;
  }
}
