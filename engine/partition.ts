/**
 * What an engine is to a shard: one partition of the read states, and the operations on it.
 *
 * Two engines implement it: `slab` (typed arrays over shared memory, the product) and `heap` (a Map of linked
 * objects, to compare with). A partition never waits and never talks to the store: where it lacks a record or
 * room, it says so, and the shard loads, evicts and calls again.
 *
 * Slots are numbers that name a user or a record of this partition from 1; 0 means none.
 */

import type { UndoLog } from './undo-log.js';

export type UserSlot = number & { readonly __user?: never };
export type RecordSlot = number & { readonly __record?: never };

/** What came of `execute`. Anything but DONE has changed nothing. */
export const OUTCOME_DONE = 0;
/** The entries that the operation names may be in the store: load those rows (with the user row), call again with `rowsKnown`. */
export const OUTCOME_NEEDS_ROWS = 1;
/** All of the user's rows are needed. */
export const OUTCOME_NEEDS_USER = 2;
/** The user is held: other requests wait for it, and this one must wait behind them. */
export const OUTCOME_HELD = 3;
/** No free record slot: make room, then call again. */
export const OUTCOME_NEEDS_SPACE = 4;
/** A list or badge of a complete user: run it with a cursor. */
export const OUTCOME_CURSOR = 5;
export type Outcome = 0 | 1 | 2 | 3 | 4 | 5;

export interface PartitionOptions {
  /** Records, 1 to 2^25 - 1. */
  readonly recordsMax: number;
  /** Users, 1 to 2^25 - 1. */
  readonly usersMax: number;
  /** Users whose changes are announced. */
  readonly watchedMax: number;
  /** Every ack sets mark and count exactly, also backwards. */
  readonly lastWrite: boolean;
  /** Ticks from the first change of a user to its flush. The unit of a tick is the caller's. */
  readonly flushDelayTicks: number;
  /** Ticks from a failed flush of a user to the next: the first, doubled with each failure in a row, up to the most. */
  readonly retryFirstTicks: number;
  readonly retryMaxTicks: number;
  /** A user moves in the LRU at most once in this many ticks. */
  readonly touchTicks: number;
}

/**
 * Walks all entries of one complete, held user: first `advance` until it says true, in as many slices as the
 * caller likes, then `write` until it gives 0. The user must stay held in between. Reused by `begin`.
 */
export interface Cursor {
  /**
   * Entries changed after `since` are listed; `sorted` false only sums.
   * @param written  entries that an earlier walk over the same user, held since, has written: they are passed over
   */
  begin(user: UserSlot, since: number, sorted: boolean, written?: number): void;
  /** Works for about `steps` records; true when collected (and sorted). */
  advance(steps: number): boolean;
  /** Writes up to `max` entries (ENTRY words each) in (channel, type) order from `out[at]`; how many. */
  write(out: Int32Array, at: number, max: number): number;
  /** Entries not yet written. */
  readonly remaining: number;
  /** Sum of the mentions, saturated at 2^31-1, and entries with mentions; set when `advance` said true. */
  readonly mentionCount: number;
  readonly mentionedEntries: number;
}

export interface Partition {
  readonly options: PartitionOptions;
  readonly recordCount: number;
  readonly userCount: number;
  /** Users with something to flush or on its way to the store, also evicted and deleted ones. */
  readonly dirtyUserCount: number;
  readonly evictedUserCount: number;
  readonly freeRecordCount: number;

  /** The time of the operations that follow, in ticks (32-bit, wraps): for LRU moves and due times. */
  setTick(tick: number): void;
  /**
   * The clocks of the flush groups that follow are above `floorUs`, and above `limitUs` only as far as there are groups: the
   * wall clock counts up to there. Microseconds since 1970.
   */
  boundClock(floorUs: number, limitUs: number): void;

  /** Parity (0 or 1) of the journal's epoch in which the changes that follow are journaled. No user is unsaved of it but those already. */
  setEpoch(parity: number): void;
  /** Users whose oldest unsaved change was made in an epoch of this parity. */
  unsavedUsers(parity: number): number;

  /**
   * Runs one operation: REQUEST words at `words[at]`, the answer (REPLY words, and entries) to `out[outAt]`.
   * After DONE with REPLY_CHANGED, `changed[0..changedCount)` are the records that changed, of `changedUser`.
   * @param hash       `hashUser` of the user
   * @param rowsKnown  the rows that the operation names were just loaded: what is not resident does not exist
   * @param likely     the record that `touch` has found; any other slot is looked at, and passed over
   * O(1), but for `ack_bulk`, which is O(items). `delete_user` detaches the records, which `sweep` frees.
   */
  execute(
    hash: number,
    words: Int32Array,
    at: number,
    out: Int32Array,
    outAt: number,
    rowsKnown: boolean,
    likely?: RecordSlot,
  ): Outcome;
  readonly changed: Int32Array;
  changedCount: number;
  changedUser: UserSlot;

  /** Slot of a resident user, or 0. */
  findUser(hash: number, lo: number, hi: number): UserSlot;
  /** The resident user, or a new one without records; 0 when no user slot can be had now. */
  admitUser(hash: number, lo: number, hi: number): UserSlot;
  /** A held user is not evicted, and `execute` answers HELD for it. `hold` is the caller's number, 0 releases. */
  setHold(user: UserSlot, hold: number): void;
  holdOf(user: UserSlot): number;
  isWatched(user: UserSlot): boolean;
  isComplete(user: UserSlot): boolean;
  /** Frees the user if nothing is left of it but the slot (a load that failed). */
  dropIfEmpty(user: UserSlot): void;

  /**
   * What the store knows of the user itself. Ignored when it is known already (the resident one is newer); of a user
   * restored from a journal the later version of both holds.
   */
  applyUserRow(user: UserSlot, version: number, deletedVersion: number): void;
  versionOf(user: UserSlot): number;
  deletedVersionOf(user: UserSlot): number;
  /** Inserts a loaded ROW at `words[at]` unless a record or tombstone of it is resident; false = no room. */
  insertRow(user: UserSlot, words: Int32Array, at: number): boolean;
  /** All rows of the user have been inserted. */
  markComplete(user: UserSlot): void;

  /** The entry of a record (ENTRY words) to `out[at]`; a tombstone is written as an empty entry. */
  writeEntry(record: RecordSlot, out: Int32Array, at: number): void;

  /** The last change of a record as an IMAGE at `out[at]`. */
  writeImage(record: RecordSlot, out: Int32Array, at: number): void;
  /** The deletion of a user (`changedUser` after `delete_user`) as an IMAGE at `out[at]`. */
  writeWipeImage(user: UserSlot, out: Int32Array, at: number): void;
  /**
   * Writes up to `max` IMAGEs of what users have not saved whose oldest unsaved change is of the other parity than the
   * current one, looking at about `steps` slots. A user whose images are all written counts for the current epoch from
   * then on. Done when `unsavedUsers` of the other parity is 0; call again otherwise, also after 0.
   *
   * The images of one call must become durable together or not at all. A user with a pending wipe is written in one call,
   * however many steps that takes; one with `max` records or more is passed over and keeps its epoch.
   * @returns images written
   */
  carryUnsaved(out: Int32Array, at: number, max: number, steps: number): number;
  /**
   * Applies an IMAGE from a journal: what is resident and newer stays. The record is dirty then, the user not known to be
   * that of the store (but after a wipe). The images of a user must come in the order in which they were written.
   * @param hash  `hashUser` of the user
   * @returns false = not now: no room, a wipe of a user with writes on their way, or one that takes several calls. Make
   *          room, take the store's answers, and call again
   */
  restoreImage(hash: number, words: Int32Array, at: number): boolean;

  /**
   * Evicts cold users until `records` record slots (and one user slot) are free; looks at a bounded number of
   * users. Dirty ones are made due at once. False if not enough is free (yet).
   * @param forMention  the room is for a user who is only mentioned: passive users go first, so that a flood of
   *                    mentions for people who are away does not push out those who are there
   */
  makeRoom(records: number, forMention: boolean): boolean;
  /** Frees up to `steps` records of evicted and deleted users; true if more are left. */
  sweep(steps: number): boolean;

  /**
   * Next group of writes that is due by now, as a FLUSH message at `out[at]`: its words, or 0 for none now.
   * Looks at no more than `steps` records. All that was dirty in the group is now on its way. `force`: due or not.
   */
  flushNext(out: Int32Array, at: number, steps: number, force: boolean): number;
  /** Tick at which the next flush is due; `NO_DUE` when nothing waits. */
  nextDue(): number;
  /** Makes what the user has not saved due at once. @returns true if there is nothing, nor anything on its way */
  hurry(user: UserSlot): boolean;
  /**
   * The answer to one group: a FLUSHED message at `words[at]`. Not ok: everything in it is dirty again, and the user's next
   * flush waits the longer, the more of its flushes failed in a row.
   */
  flushed(words: Int32Array, at: number, ok: boolean): void;

  /**
   * Nobody will answer what is on its way to the store: as if each group had come back with a failure. Looks at about `steps`
   * users, from the slot `from` on (1 at first).
   * @returns the slot to go on from, or 0: nothing is on its way any more
   */
  failFlights(from: UserSlot, steps: number): UserSlot;

  /**
   * Ids (low word, high word) of the active users who did something last, newest first, to `out[at]`. In portions: each goes on
   * behind the last of those there who have done nothing since, so that nobody is there twice.
   * @param count  users that earlier portions have put there
   * @param max    users there at most after this one
   * @param since  tick of the first portion
   * @returns how many are there now; `count`: there are no more. O(max - count)
   */
  hottestUsers(out: Int32Array, at: number, max: number, count: number, since: number): number;
  /**
   * After a restart with the memory of an earlier process, which had saved everything: nobody waits and nobody is subscribed
   * to any more. Throws if something is unsaved. O(users).
   */
  afterRestart(): void;

  createCursor(): Cursor;

  /**
   * Walks everything and throws on the first broken invariant, naming it. For tests and after a crash.
   * @param beat  called every few milliseconds, so that nobody takes it for a hang
   */
  check(beat?: () => void): void;
  /** The same of what lies around words of the partition's buffer: the users to whom they belong, with all that is theirs. */
  checkAround(words: Iterable<number>, beat?: () => void): void;
}

export const NO_DUE = 0x7fffffff;

/** Users looked at in one call of `makeRoom`: more would make the caller's batch wait. */
export const CANDIDATES_MAX = 64;
/** Passive users keep this share of the records (1/16) before active ones go. */
export const PASSIVE_SHARE_SHIFT = 4;

/** Operations that one call of `touch` takes at most. */
export const TOUCH_MAX = 256;

/** An engine: makes partitions. `touch` loads what a batch of operations will need, so that cache misses overlap. */
export interface Engine {
  readonly name: 'slab' | 'heap';
  /** Shared memory that one partition needs, in bytes; 0 = lives on the heap. */
  sharedBytes(options: PartitionOptions): number;
  /**
   * `sharedBytes` of `memory` from `byteOffset` (0 if left out; a multiple of 64) are the partition's: zeroed, or what
   * an earlier owner left, its log rolled back; heap ignores them.
   * @param undo  takes the old value of every word before it is stored to: the owner commits when a unit of work is done,
   *              and no call of a partition does. Left out, nothing can be taken back.
   */
  attach(
    options: PartitionOptions,
    memory: SharedArrayBuffer | null,
    byteOffset?: number,
    undo?: UndoLog,
  ): Partition;
  /**
   * @param partitions  of each operation
   * @param hashes      `hashUser` of each operation's user
   * @param ats         where each operation's REQUEST words begin in `words`
   * @param likely      gets what is likely to be each operation's record, for `execute`
   */
  touch(
    partitions: readonly Partition[],
    hashes: Int32Array,
    words: Int32Array,
    ats: Int32Array,
    count: number,
    likely: Int32Array,
  ): void;
}
