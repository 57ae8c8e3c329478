/**
 * Lists all entries of one user in (channel, type) order, in slices.
 *
 * The chain of a user's records is in no order. The cursor collects slots and keys, then sorts them with a
 * least-significant-digit radix sort on bytes: linear, stable, without a comparator, and it can stop after any
 * digit. Digits in which all keys agree are skipped: the high bytes of snowflakes mostly are, so 7,713 entries take
 * about six passes.
 *
 * The arrays grow to the largest user listed so far and are kept: no garbage in the steady state.
 */
import { META_DELETED, META_TYPE_MASK, RECORD, USER } from './layout.js';
import { ENTRY } from './messages.js';
import type { Cursor, RecordSlot, UserSlot } from './partition.js';
import type { SlabMemory } from './slab-memory.js';
import { writeEntry } from './slab-records.js';

/** Bytes of a key, least significant first: the type, the channel's low word, its high word. */
const KEY_BYTES = 9;
const RADIX = 256;
const COUNT_MAX = 0x7fffffff;

const COLLECTING = 0;
const SORTING = 1;
const READY = 2;

export class SlabCursor implements Cursor {
  mentionCount = 0;
  mentionedEntries = 0;
  #phase = READY;
  #since = 0;
  #sorted = false;
  #record: RecordSlot = 0;
  #count = 0;
  #written = 0;
  #byte = 0;
  #slots = new Int32Array(64);
  #moved = new Int32Array(64);
  readonly #places = new Int32Array(RADIX);

  constructor(private readonly memory: SlabMemory) {}

  get remaining(): number {
    return this.#count - this.#written;
  }

  begin(user: UserSlot, since: number, sorted: boolean, written = 0): void {
    this.#record = this.memory.users[this.memory.userAt(user) + USER.FIRST_RECORD]!;
    this.#since = since;
    this.#sorted = sorted;
    this.#phase = COLLECTING;
    this.#count = 0;
    this.#written = written;
    this.#byte = 0;
    this.mentionCount = 0;
    this.mentionedEntries = 0;
  }

  advance(steps: number): boolean {
    if (this.#phase === COLLECTING) {
      steps = this.#collect(steps);
      if (this.#record !== 0) return false;
      this.#phase = this.#sorted ? SORTING : READY;
    }
    // A pass cannot be cut in two, so it may overdraw the steps: 100,000 entries take a millisecond.
    while (this.#phase === SORTING && steps > 0) {
      this.#sortByte(this.#byte++);
      steps -= this.#count;
      if (this.#byte === KEY_BYTES) this.#phase = READY;
    }
    return this.#phase === READY;
  }

  #collect(steps: number): number {
    const { records } = this.memory;
    let record = this.#record;
    for (; record !== 0 && steps > 0; steps--) {
      const at = this.memory.recordAt(record);
      if ((records[at + RECORD.META]! & META_DELETED) === 0) {
        const mentions = records[at + RECORD.MENTION_COUNT]!;
        if (mentions > 0) {
          this.mentionCount = Math.min(this.mentionCount + mentions, COUNT_MAX);
          this.mentionedEntries++;
        }
        if (records[at + RECORD.VERSION]! >>> 0 > this.#since) {
          if (this.#count === this.#slots.length) this.#grow();
          this.#slots[this.#count++] = record;
        }
      }
      record = records[at + RECORD.NEXT_OF_USER]!;
    }
    this.#record = record;
    return steps;
  }

  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2);
    slots.set(this.#slots);
    this.#slots = slots;
    this.#moved = new Int32Array(slots.length);
  }

  /** One pass of the sort. Byte 0 is the type, 1 to 4 are of the channel's low word, 5 to 8 of its high word. */
  #sortByte(byte: number): void {
    const { records } = this.memory;
    const slots = this.#slots;
    const places = this.#places;
    const count = this.#count;
    const field = byte === 0 ? RECORD.META : byte < 5 ? RECORD.CHANNEL_LO : RECORD.CHANNEL_HI;
    const shift = byte === 0 ? 0 : ((byte - 1) & 3) * 8;
    const mask = byte === 0 ? META_TYPE_MASK : RADIX - 1;
    places.fill(0);
    for (let i = 0; i < count; i++) {
      const digit = (records[this.memory.recordAt(slots[i]!) + field]! >>> shift) & mask;
      places[digit] = places[digit]! + 1;
    }
    let place = 0;
    for (let digit = 0; digit < RADIX; digit++) {
      const entries = places[digit]!;
      if (entries === count) return; // all keys agree in this byte
      places[digit] = place;
      place += entries;
    }
    const moved = this.#moved;
    for (let i = 0; i < count; i++) {
      const slot = slots[i]!;
      const digit = (records[this.memory.recordAt(slot) + field]! >>> shift) & mask;
      moved[places[digit]!] = slot;
      places[digit] = places[digit]! + 1;
    }
    this.#moved = slots;
    this.#slots = moved;
  }

  write(out: Int32Array, at: number, max: number): number {
    const count = Math.min(max, this.remaining);
    for (let i = 0; i < count; i++) {
      writeEntry(this.memory, this.#slots[this.#written++]!, out, at);
      at += ENTRY.WORDS;
    }
    return count;
  }
}
