/**
 * Holds: what the requests of one user wait for. While a user is held, everything about it waits in the hold's
 * queue, so that requests about one user take effect in the order in which they came.
 *
 * A hold is a number from 1; it is also its queue's number in the parking. Plain arrays: no object for a hold.
 */
import { assert, broken } from '../engine/layout.js';
import type { UserSlot } from '../engine/partition.js';

/** What the first operation of the queue waits for. */
const HOLD_FREE = 0;
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

/** A tag is `generation:12 hold:16`, so that an answer which comes too late is not taken for another's. */
const HOLD_BITS = 16;
const GENERATION_MASK = 0xfff;

export class Holds {
  readonly kind: Uint8Array;
  readonly partition: Uint16Array;
  readonly user: Int32Array;
  /** Tick at which waiting ends in an error. */
  readonly deadline: Int32Array;
  /** When the first operation began to wait for what it waits for now, microseconds of the shared clock. */
  readonly sinceUs: Int32Array;
  /** The load met a full partition: not all of the user's rows are resident. */
  readonly overflowed: Uint8Array;
  /** The rows that the first operation names have been loaded: what is not resident does not exist. */
  readonly rowsKnown: Uint8Array;
  /** Sums of a badge that is read from the store. */
  readonly mentions: Float64Array;
  readonly mentioned: Float64Array;
  /** The load was asked for by nobody: warm/hot-loader.ts. */
  readonly warming: Uint8Array;
  warmingCount = 0;
  readonly #generation: Uint16Array;
  readonly #next: Int32Array;
  #free = 0;
  count = 0;

  constructor(readonly max: number) {
    assert(max >= 1 && max < 1 << HOLD_BITS, `${max} holds, not 1 to ${(1 << HOLD_BITS) - 1}`);
    this.kind = new Uint8Array(max + 1);
    this.partition = new Uint16Array(max + 1);
    this.user = new Int32Array(max + 1);
    this.deadline = new Int32Array(max + 1);
    this.sinceUs = new Int32Array(max + 1);
    this.overflowed = new Uint8Array(max + 1);
    this.rowsKnown = new Uint8Array(max + 1);
    this.mentions = new Float64Array(max + 1);
    this.mentioned = new Float64Array(max + 1);
    this.warming = new Uint8Array(max + 1);
    this.#generation = new Uint16Array(max + 1);
    this.#next = new Int32Array(max + 1);
    for (let hold = max; hold >= 1; hold--) {
      this.#next[hold] = this.#free;
      this.#free = hold;
    }
  }

  /** A hold for a user, or 0 when all are in use. */
  take(partition: number, user: UserSlot): number {
    const hold = this.#free;
    if (hold === 0) return 0;
    this.#free = this.#next[hold]!;
    this.count++;
    this.kind[hold] = HOLD_READY;
    this.partition[hold] = partition;
    this.user[hold] = user;
    this.overflowed[hold] = 0;
    this.rowsKnown[hold] = 0;
    return hold;
  }

  release(hold: number): void {
    this.endWarming(hold);
    this.kind[hold] = HOLD_FREE;
    this.renew(hold);
    this.#next[hold] = this.#free;
    this.#free = hold;
    this.count--;
  }

  setWarming(hold: number): void {
    this.warming[hold] = 1;
    this.warmingCount++;
  }

  endWarming(hold: number): void {
    this.warmingCount -= this.warming[hold]!;
    this.warming[hold] = 0;
  }

  /** From here on answers to loads sent before are not for this hold any more. */
  renew(hold: number): void {
    this.#generation[hold] = (this.#generation[hold]! + 1) & GENERATION_MASK;
  }

  tag(hold: number): number {
    return (this.#generation[hold]! << HOLD_BITS) | hold;
  }

  /** The hold that an answer is for, or 0 if it has gone. */
  ofTag(tag: number): number {
    const hold = tag & ((1 << HOLD_BITS) - 1);
    return this.kind[hold] !== HOLD_FREE && this.tag(hold) === tag ? hold : 0;
  }
}

/** A queue of hold numbers, each at most once at a time, in a fixed array. */
export class HoldQueue {
  readonly #items: Int32Array;
  #head = 0;
  count = 0;

  constructor(max: number) {
    this.#items = new Int32Array(max + 1);
  }

  push(hold: number): void {
    if (this.count === this.#items.length) broken(`more than ${this.#items.length} holds in a queue`);
    this.#items[(this.#head + this.count++) % this.#items.length] = hold;
  }

  shift(): number {
    const hold = this.#items[this.#head]!;
    this.#head = (this.#head + 1) % this.#items.length;
    this.count--;
    return hold;
  }
}
