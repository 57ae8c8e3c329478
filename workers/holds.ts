/**
 * Holds: what the requests of one user wait for. While a user is held, everything about it waits in the hold's
 * queue, so that requests about one user take effect in the order in which they came.
 *
 * A hold is a number from 1; it is also its queue's number in the parking. Its words are in the lane's memory.
 *
 *     from                 to           when its first operation
 *     -------------------  -----------  ---------------------------------------------------------------------
 *     FREE, READY          LOADING      lacks rows; or, of a hold that is WARMING, there is none
 *     FREE, READY, FAILED  CURSOR_WAIT  is a list or a badge of a complete user
 *     FREE                 READY        found no room, and some was made
 *     LOADING              READY        has all rows (ROWS_KNOWN)
 *     LOADING              CLEANING     is a list or a badge, and the user does not fit
 *     CLEANING             STREAMING    has nothing of the user unsaved; the first STREAMED rows come again (SKIPS)
 *     STREAMING            CLEANING     has to ask another persister; STREAMED rows have been taken
 *     STREAMING            READY        was answered with the last row; the next is the first
 *     CURSOR_WAIT          CURSOR       has a cursor; WRITTEN entries have been sent, also by a thread before
 *     CURSOR               READY        was answered with the last entry; the next is the first
 *     LOADING, CLEANING,   FAILED       gets no answer of the store, or none in time
 *       STREAMING
 *     LOADING, READY,      FREE         found no room: all go to the lobby. An operation that is begun never does
 *       FAILED
 *     READY, FAILED        FREE         was the last, and is answered
 *
 * READY, FAILED, CURSOR_WAIT and CURSOR are in the lane's queue `ready`, CLEANING in `waiting`, no other is in either.
 * WRITTEN or STREAMED of a list that is begun are not 0, of all else they are.
 */
import { assert, broken } from '../engine/layout.js';
import type { UserSlot } from '../engine/partition.js';
import { HOLD, LANE, type LaneMemory } from './lane-memory.js';

/** What the first operation of the queue waits for: HOLD.KIND. */
export const HOLD_FREE = 0;
/** An answer of the store. */
export const HOLD_LOADING = 1;
/** Its turn. */
export const HOLD_READY = 2;
/** A free cursor. */
export const HOLD_CURSOR_WAIT = 3;
/** The end of its cursor's walk. */
export const HOLD_CURSOR = 4;
/** That all of the user is in the store, to be read from there: a user who does not fit into the partition. */
export const HOLD_CLEANING = 5;
/** The rest of such a user's rows. */
export const HOLD_STREAMING = 6;
/** Its turn to be refused: the store did not answer. */
export const HOLD_FAILED = 7;

/** A tag is `generation:12 hold:16`, so that an answer which comes too late is not taken for another's. */
const HOLD_BITS = 16;
const GENERATION_MASK = 0xfff;

export class Holds {
  readonly max: number;
  readonly #memory: LaneMemory;
  readonly #base: number;

  constructor(memory: LaneMemory) {
    const max = memory.sizes.holdsMax;
    assert(max >= 1 && max < 1 << HOLD_BITS, `${max} holds, not 1 to ${(1 << HOLD_BITS) - 1}`);
    this.max = max;
    this.#memory = memory;
    this.#base = memory.regions.holds;
  }

  /** @param field  of HOLD */
  get(hold: number, field: number): number {
    return this.#memory.words[this.#base + hold * HOLD.WORDS + field]!;
  }

  set(hold: number, field: number, value: number): void {
    this.#memory.put(this.#base + hold * HOLD.WORDS + field, value);
  }

  get count(): number {
    return this.#memory.get(LANE.HOLD_COUNT);
  }

  get warmingCount(): number {
    return this.#memory.get(LANE.WARMING_COUNT);
  }

  /** Holds beyond this one were never used. */
  get used(): number {
    return this.#memory.get(LANE.HOLD_FRESH) - 1;
  }

  /** A hold for a user, or 0 when all are in use. */
  take(partition: number, user: UserSlot): number {
    const memory = this.#memory;
    let hold = memory.get(LANE.HOLD_FREE);
    if (hold !== 0) {
      memory.put(LANE.HOLD_FREE, this.get(hold, HOLD.NEXT));
    } else {
      hold = memory.get(LANE.HOLD_FRESH);
      if (hold > this.max) return 0;
      memory.put(LANE.HOLD_FRESH, hold + 1);
    }
    memory.add(LANE.HOLD_COUNT, 1);
    this.set(hold, HOLD.KIND, HOLD_READY);
    this.set(hold, HOLD.PARTITION, partition);
    this.set(hold, HOLD.USER, user);
    this.set(hold, HOLD.OVERFLOWED, 0);
    this.set(hold, HOLD.ROWS_KNOWN, 0);
    this.set(hold, HOLD.WRITTEN, 0);
    this.set(hold, HOLD.STREAMED, 0);
    return hold;
  }

  /** Some of the list at hand is on its way to the client, so that it must not begin again. */
  isBegun(hold: number): boolean {
    return this.get(hold, HOLD.WRITTEN) > 0 || this.get(hold, HOLD.STREAMED) > 0;
  }

  /** The first operation is answered. */
  endFirst(hold: number): void {
    if (this.get(hold, HOLD.WRITTEN) !== 0) this.set(hold, HOLD.WRITTEN, 0);
    if (this.get(hold, HOLD.STREAMED) !== 0) this.set(hold, HOLD.STREAMED, 0);
  }

  release(hold: number): void {
    const memory = this.#memory;
    this.endWarming(hold);
    this.set(hold, HOLD.KIND, HOLD_FREE);
    this.renew(hold);
    this.set(hold, HOLD.NEXT, memory.get(LANE.HOLD_FREE));
    memory.put(LANE.HOLD_FREE, hold);
    memory.add(LANE.HOLD_COUNT, -1);
  }

  setWarming(hold: number): void {
    this.set(hold, HOLD.WARMING, 1);
    this.#memory.add(LANE.WARMING_COUNT, 1);
  }

  endWarming(hold: number): void {
    if (this.get(hold, HOLD.WARMING) === 0) return;
    this.set(hold, HOLD.WARMING, 0);
    this.#memory.add(LANE.WARMING_COUNT, -1);
  }

  /** From here on answers to loads sent before are not for this hold any more. */
  renew(hold: number): void {
    this.set(hold, HOLD.GENERATION, (this.get(hold, HOLD.GENERATION) + 1) & GENERATION_MASK);
  }

  tag(hold: number): number {
    return (this.get(hold, HOLD.GENERATION) << HOLD_BITS) | hold;
  }

  /** The hold that an answer is for, or 0 if it has gone. */
  ofTag(tag: number): number {
    const hold = tag & ((1 << HOLD_BITS) - 1);
    return this.get(hold, HOLD.KIND) !== HOLD_FREE && this.tag(hold) === tag ? hold : 0;
  }
}

/** A queue of hold numbers, each at most once at a time, in a fixed array of the lane's memory. */
export class HoldQueue {
  readonly #memory: LaneMemory;
  readonly #base: number;
  readonly #length: number;
  readonly #headAt: number;
  readonly #countAt: number;

  /** @param base  its array; @param headAt, countAt  its words in LANE */
  constructor(memory: LaneMemory, base: number, headAt: number, countAt: number) {
    this.#memory = memory;
    this.#base = base;
    this.#length = memory.sizes.holdsMax + 1;
    this.#headAt = headAt;
    this.#countAt = countAt;
  }

  get count(): number {
    return this.#memory.get(this.#countAt);
  }

  push(hold: number): void {
    const { count } = this;
    if (count === this.#length) broken('more holds in a queue than there are', this.#length);
    const memory = this.#memory;
    memory.put(this.#base + ((memory.get(this.#headAt) + count) % this.#length), hold);
    memory.put(this.#countAt, count + 1);
  }

  /** The queue must not be empty. */
  get first(): number {
    const memory = this.#memory;
    return memory.get(this.#base + memory.get(this.#headAt));
  }

  shift(): number {
    const memory = this.#memory;
    const head = memory.get(this.#headAt);
    memory.put(this.#headAt, (head + 1) % this.#length);
    memory.add(this.#countAt, -1);
    return memory.get(this.#base + head);
  }
}
